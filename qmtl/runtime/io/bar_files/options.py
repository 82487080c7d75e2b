"""What a person declares about a file: which column is which, and how stamps and numbers are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, TypedDict, get_args

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.io.bar_files.formats import StampFormat, parse_format
from qmtl.runtime.io.bar_files.option_values import (
    Columns,
    Zone,
    one_of,
    parse_columns,
    parse_count,
    parse_encoding,
    parse_mark,
    parse_null,
    parse_scale,
    parse_where,
    parse_zone,
    unusable,
)

Unit = Literal["s", "ms", "us", "ns", "excel"]
Label = Literal["open", "close", "session"]


class ReadingOptions(TypedDict, total=False):
    """How a file is to be read; all are optional.

    columns: which column of the file is which: a mapping (`ts=date,open=o`), or the names in the order of
        the file (`ts,open,...`; an empty name skips a column), as text, mapping or sequence. `volume=` with
        nothing behind it declares that the source has no volume.
    date, time: two columns that make up the stamp together, by name or, without a header, as `column 1`.
    ts_format: how stamps are written, as `strptime` has it: `%d.%m.%Y %H:%M`. `|` stands between formats of
        which one must fit. With date and time columns it is the format of both, with a blank between.
    tz: the zone of stamps that name none, such as `America/New_York`; without it they are UTC. A server
        clock is a zone and hours: `America/New_York+7h`.
    unit: what numeric stamps count since 1970-01-01 UTC: `s`, `ms`, `us` or `ns`; `excel` counts days as
        spreadsheets do (1900 date system), on the clock of `tz`.
    label: whether a stamp is the `open` or the `close` of its bar, or lies in the `session` (for weeks: in
        the week) that the bar is of.
    scale: what stored values are multiplied by: `open,high,low,close=0.0001`, or a mapping of column to
        factor.
    decimal, thousands: the marks in numbers that are text. Without them a point is the decimal mark, and
        nothing may stand between thousands.
    null: words that stand for no value, such as `N/A,null,-`, as text or sequence.
    where: conditions that a row must meet, all of them: `ticker=AAPL`, as text (comma; quoted as
        in CSV: `name="Acme, Inc."`), or as they are in a sequence or a mapping.
        `ticker=*` is met by every row: the column is declared not to tell instruments apart.
    encoding: of a text file; without it UTF-8, or what the byte order mark gives.
    skip_head, skip_foot: lines of a text file that are left out at its start and at its end.
    separator: what stands between fields of a text file; taken from the first line without it. Of blanks, as
        in columns that are aligned, a run counts as one.
    table: which part of a file is the table: the member of a zip, or the keys of JSON, as `data.bars`.
    """

    columns: str | Mapping[str, str | None] | Sequence[str] | None
    date: str | None
    time: str | None
    ts_format: str | None
    tz: str | None
    unit: Unit | None
    label: Label
    scale: str | Mapping[str, str | float] | None
    decimal: str | None
    thousands: str | None
    null: str | Sequence[str] | None
    where: str | Mapping[str, object] | Sequence[str] | None
    encoding: str | None
    skip_head: int
    skip_foot: int
    separator: str | None
    table: str | None


@dataclass(frozen=True)
class Reading:
    """`ReadingOptions`, understood and checked."""

    columns: Columns = field(default_factory=Columns)
    date: str | None = None
    time: str | None = None
    ts_format: StampFormat | None = None
    tz: Zone | None = None
    unit: Unit | None = None
    label: Label = "open"
    scale: Mapping[str, Fraction] = field(default_factory=dict)
    decimal: str = "."
    thousands: str | None = None
    null: tuple[str, ...] = ()
    where: Mapping[str, str] = field(default_factory=dict)
    encoding: str | None = None
    skip_head: int = 0
    skip_foot: int = 0
    separator: str | None = None
    table: str | None = None

    @classmethod
    def of(cls, options: ReadingOptions) -> Reading:
        """Raises `InvalidRequestError` for an option that cannot be used, and two that exclude each other."""
        unknown = set(options) - set(ReadingOptions.__annotations__)
        if unknown:
            raise InvalidRequestError(
                f"{', '.join(sorted(unknown))} does not say how a file is read",
                next_step=f"use {', '.join(ReadingOptions.__annotations__)}",
            )
        date, time = options.get("date"), options.get("time")
        if (date is None) != (time is None):
            given, other = ("time", "date") if date is None else ("date", "time")
            why = f"`{other}=` must name the column of the {other}s"
            raise unusable(given, why, f"add `{other}=COLUMN`, or name one column with `columns='ts=COLUMN'`")
        decimal = parse_mark("decimal", options.get("decimal"), among=".,") or "."
        thousands = parse_mark("thousands", options.get("thousands"), among=".,' _")
        if thousands == decimal:
            why = f"{thousands!r} is the decimal mark"
            step = "say both: `decimal=,`" if decimal == "." else "name another mark"
            raise unusable("thousands", why, step)
        ts_format, unit = options.get("ts_format"), one_of("unit", options.get("unit"), get_args(Unit))
        if ts_format is not None and unit is not None:
            raise unusable("unit", "`ts_format=` says that stamps are written as text", "give one of them")
        return cls(
            columns=parse_columns(options.get("columns"), separate_stamps=date is not None),
            date=date,
            time=time,
            ts_format=None if ts_format is None else parse_format(ts_format),
            tz=parse_zone(options.get("tz")),
            unit=unit,
            label=one_of("label", options.get("label", "open"), get_args(Label)),
            scale=parse_scale(options.get("scale")),
            decimal=decimal,
            thousands=thousands,
            null=parse_null(options.get("null")),
            where=parse_where(options.get("where")),
            encoding=parse_encoding(options.get("encoding")),
            skip_head=parse_count("skip_head", options.get("skip_head", 0)),
            skip_foot=parse_count("skip_foot", options.get("skip_foot", 0)),
            separator=parse_mark("separator", options.get("separator"), among="\t;,|: ~^"),
            table=options.get("table"),
        )
