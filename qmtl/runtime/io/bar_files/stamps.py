"""What the stamps of a file mean, by their shape and by the declared options, never by their size."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import TS
from qmtl.foundation.series import Timeframe
from qmtl.foundation.times import DAY, iso
from qmtl.runtime.io.bar_files.clock_changes import WallClock
from qmtl.runtime.io.bar_files.epochs import (
    INTEGER,
    NUMBER,
    decimals,
    floats,
    integers,
    spreadsheet_days,
)
from qmtl.runtime.io.bar_files.formats import FIRST_YEAR, LAST_YEAR, Written
from qmtl.runtime.io.bar_files.option_values import Zone, parse_zone
from qmtl.runtime.io.bar_files.options import Reading

_NAIVE = pl.Datetime("ns")

# Year first, so that day and month cannot change places: ISO 8601, its common variants, and 20130822 09:00.
_DATE = r"(?P<date>\d{4}(?P<dash>[-/.])\d{1,2}(?P=dash)\d{1,2}|\d{8}(?=[T ]))"
_TIME = (
    r"(?:(?P<gap>T| {1,2})(?:(?P<time>\d{1,2}:\d{2})(?P<seconds>:\d{2}(?:(?P<mark>[.,])\d{1,9})?)?"
    r"|(?P<compact>\d{6})))?"
)
_ZONE = r"(?P<zone>Z| ?UTC|[+-]\d{2}(?::?\d{2})?| [A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*)?"
_TEXT = re.compile(_DATE + _TIME + _ZONE)
_OFFSET = r"(?:Z|[+-]\d{2}(?::?\d{2})?)$"

_TEXT_HELP = (
    "write ISO 8601, such as 2013-08-22T09:00:00Z; say how they are written, such as "
    "`ts_format='%d.%m.%Y %H:%M'`; with numbers, say `unit=` s, ms, us or ns"
)


@dataclass(frozen=True)
class Shape:
    """How a text stamp is written: its polars format, its zone if it names one, and the fraction's mark."""

    format: str
    zone: str | None = None  # "offset", or the name of a zone
    comma: bool = False

    @property
    def zoned(self) -> bool:
        return self.zone is not None


class Stamps(NamedTuple):
    """`expression` gives the `ts` of a bar (nanoseconds UTC), null where the stored stamp has no meaning.

    shape: of text without a declared format. counts: whether stamps count from an epoch. clock: the wall
    clock that they are read from, if it may be changed. no_date: where a `ts` at midnight UTC is an instant,
    such as 20:00 in New York, and not the date that a stamp writes; None if nowhere.
    """

    expression: pl.Expr
    shape: Shape | None = None
    notes: tuple[str, ...] = ()
    counts: bool = False
    clock: WallClock | None = None
    no_date: pl.Expr | None = None


def shape_of(text: str) -> Shape | None:
    """The shape of a stamp; None if it has none that is unambiguous."""
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        return None
    dash = match["dash"]
    form = f"%Y{dash}%m{dash}%d" if dash else "%Y%m%d"
    if match["compact"]:
        form += match["gap"] + "%H%M%S"
    elif match["time"]:
        form += match["gap"] + "%H:%M" + ("" if match["seconds"] is None else ":%S%.f")
    elif match["zone"]:
        return None  # 2013-08-22Z, and 2013-08-22-05, are not read
    zone = match["zone"]
    if zone is None:
        return Shape(form, None, match["mark"] == ",")
    if zone == "Z" or zone[0] in "+-":
        return Shape(form + "%#z", "offset", match["mark"] == ",")
    try:
        parse_zone(zone.strip())
    except InvalidRequestError:
        return None
    return Shape(form + zone, zone.strip(), match["mark"] == ",")


def stamps_of(
    dtype: pl.DataType,
    sample: str | None,
    reading: Reading,
    timeframe: Timeframe,
    name: str,
    *,
    lenient: bool = False,
) -> Stamps:
    """The meaning of the `ts` column; `sample` is its first text, where it is text.

    Naive stamps lie in the zone of `reading.tz`, and in UTC without one. Of bars of a day or a week a naive
    stamp is a date: the session's, at 00:00 UTC. With the labels "session" and "close" so is a stamp at
    midnight on its own clock, or on that of `reading.tz`; any other is the instant that it is.
    lenient: whether counts may be decimal numbers. Raises `InvalidRequestError` if the meaning is ambiguous.
    """
    column = pl.col("ts")
    if reading.ts_format is not None:
        if not (isinstance(dtype, pl.String) or dtype.is_integer()):
            raise InvalidRequestError(
                f"{name}: the stamps are not text",
                why=f"they are stored as {dtype}, and `ts_format=` says how text is written",
                next_step="leave out `ts_format=`",
            )
        written = reading.ts_format.read(column.cast(pl.String).str.strip_chars())
        return _placed(written, None, None, reading, timeframe)
    if isinstance(dtype, pl.String):
        if sample is not None and NUMBER.fullmatch(sample.strip()):
            return _counted(column.str.strip_chars(), dtype, reading, timeframe, name, sample, lenient)
        return _of_text(column.str.strip_chars(), sample, reading, timeframe, name)
    if dtype.is_integer() or dtype.is_float():
        return _counted(column, dtype, reading, timeframe, name, None, lenient)
    notes = _unused("unit", reading.unit, "the stamps are not numbers")
    if isinstance(dtype, pl.Datetime):
        count = integers(column.to_physical(), dtype.time_unit)
        if dtype.time_zone is None:
            return _placed(Written(count.cast(_NAIVE), None), None, None, reading, timeframe, notes)
        instant = count.cast(TS)
        wall = instant.dt.convert_time_zone(dtype.time_zone).dt.replace_time_zone(None)
        return _zoned(instant, wall, None, reading, timeframe, notes)
    if isinstance(dtype, pl.Date):
        days = integers(column.to_physical().cast(pl.Int64), "d")
        return _placed(Written(days.cast(_NAIVE), None), None, None, reading, timeframe, notes)
    raise InvalidRequestError(
        f"{name}: the stamps are no times", why=f"they are stored as {dtype}", next_step=_TEXT_HELP
    )


def _of_text(text: pl.Expr, sample: str | None, reading: Reading, timeframe: Timeframe, name: str) -> Stamps:
    shape = shape_of(sample) if sample is not None else None
    if shape is None:
        why = f"the first is {sample!r}"
        if sample is not None and re.fullmatch(r"\d{1,2}[-/.]\d{1,2}[-/.]\d{4}.*", sample.strip()):
            why += "; day and month could change places"
        raise InvalidRequestError(
            f"{name}: the stamps cannot be read as times", why=why, next_step=_TEXT_HELP
        )
    notes = _unused("unit", reading.unit, "the stamps are not numbers")
    parsed = parsed_text(text, shape)
    if shape.zone != "offset":
        return _placed(Written(parsed, None), shape.zone, shape, reading, timeframe, notes)
    if reading.label == "open":
        return _zoned(parsed, None, shape, reading, timeframe, notes)
    local = Shape(shape.format.removesuffix("%#z"), None, shape.comma)
    return _zoned(parsed, parsed_text(text.str.replace(_OFFSET, ""), local), shape, reading, timeframe, notes)


def parsed_text(text: pl.Expr, shape: Shape) -> pl.Expr:
    """Stamps of one shape; null for others, and where a field is out of range.

    The library reads second 60 as the one that follows it, so that those are looked for by themselves.
    """
    kind = TS if shape.zone == "offset" else _NAIVE
    plain = text.str.replace(",", ".", literal=True) if shape.comma else text
    year = text.str.slice(0, 4)
    in_range = year.is_between(pl.lit(str(FIRST_YEAR)), pl.lit(str(LAST_YEAR)))
    if "%H%M%S" in shape.format:
        in_range &= ~text.str.contains(r"[T ]\d{4}60")
    elif "%S" in shape.format:
        in_range &= ~text.str.contains(":60", literal=True)
    return pl.when(in_range).then(plain.str.strptime(kind, shape.format, strict=False))


def _placed(
    written: Written,
    zone: str | None,
    shape: Shape | None,
    reading: Reading,
    timeframe: Timeframe,
    notes: tuple[str, ...] = (),
) -> Stamps:
    """Wall clock times on the time axis: by their own zone, or by the one that was declared."""
    if written.offset is not None:
        instant = (written.wall.cast(pl.Int64) - written.offset).cast(TS)
        return _zoned(instant, written.wall, shape, reading, timeframe, notes)
    if zone is not None:
        clock = WallClock(written.wall, Zone(zone))
        found = _zoned(clock.instants("null"), written.wall, shape, reading, timeframe, notes)
        return found._replace(clock=clock)
    if not timeframe.is_intraday and (reading.label == "open" or reading.tz is None):
        notes += _unused("tz", reading.tz, f"the stamps of {timeframe} bars are dates")
        return Stamps(written.wall.dt.replace_time_zone("UTC"), shape, notes)
    if reading.tz is None:
        notes += ("the stamps name no zone and were read as UTC",)
        return Stamps(written.wall.dt.replace_time_zone("UTC"), shape, notes)
    clock = WallClock(written.wall, reading.tz)
    found = Stamps(clock.instants("null"), shape, notes, clock=clock)
    return found if timeframe.is_intraday else _dated(found, written.wall)


def _zoned(
    instant: pl.Expr,
    wall: pl.Expr | None,
    shape: Shape | None,
    reading: Reading,
    timeframe: Timeframe,
    notes: tuple[str, ...],
) -> Stamps:
    notes += _unused("tz", reading.tz, "the stamps name their own zone")
    found = Stamps(instant, shape, notes)
    if reading.label == "open" or wall is None or timeframe.is_intraday:
        return found
    return _dated(found, wall)


def _dated(instants: Stamps, wall: pl.Expr) -> Stamps:
    """A stamp at its own midnight is the date that it writes; any other stays the instant that it is."""
    at_midnight = wall.cast(pl.Int64) % DAY == 0
    date = wall.dt.replace_time_zone("UTC")
    return instants._replace(
        expression=pl.when(at_midnight).then(date).otherwise(instants.expression), no_date=~at_midnight
    )


def _counted(
    column: pl.Expr,
    dtype: pl.DataType,
    reading: Reading,
    timeframe: Timeframe,
    name: str,
    sample: str | None,
    lenient: bool,
) -> Stamps:
    such = "" if sample is None else f", such as {sample.strip()}"
    kind = "numbers" if dtype.is_float() or (sample and not INTEGER.fullmatch(sample.strip())) else "integers"
    if reading.unit is None:
        raise InvalidRequestError(
            f"{name}: the stamps are {kind}{such}",
            why="what a number counts cannot be told by its size",
            next_step="say `unit=` s, ms, us or ns; if they are dates without marks, say `ts_format=%Y%m%d`",
        )
    if reading.unit == "excel":
        days = column.cast(pl.Float64, strict=False)
        return _placed(Written(spreadsheet_days(days).cast(_NAIVE), None), None, None, reading, timeframe)
    if reading.tz is not None:
        raise InvalidRequestError(
            f"{name}: the stamps are {kind}",
            why="they count from 1970-01-01 UTC, and no other zone can apply",
            next_step="leave out `tz=`",
        )
    if dtype.is_float():
        return Stamps(floats(column, reading.unit).cast(TS), counts=True)
    if isinstance(dtype, pl.String) and (lenient or kind == "numbers"):
        return Stamps(decimals(column, reading.unit).cast(TS), counts=True)
    return Stamps(integers(column.cast(pl.Int64, strict=False), reading.unit).cast(TS), counts=True)


def why_unread(value: object, stamps: Stamps, reading: Reading) -> tuple[str, str | None]:
    """Why a stored stamp has no meaning beside others: what it is, and why that is refused."""
    if value is None or value == "":
        return "there is no stamp", None
    text, shape = str(value).strip(), stamps.shape
    if reading.ts_format is not None:
        form = reading.ts_format.text
        if len(meanings := reading.ts_format.meanings(text)) > 1:
            times = " or ".join(f"{iso(wall)} ({one})" for one, wall in meanings)
            return f"{text!r} is a time of several formats of `ts_format={form}`", f"it is {times}"
        return f"{text!r} is not a time of `ts_format={form}`", "it does not fit, or a part is out of range"
    if stamps.counts and NUMBER.fullmatch(text):
        return f"{text!r} is not a time between 1678 and 2261", f"it counts {reading.unit}"
    if shape is None:
        return f"{text!r} is not a time between 1678 and 2261", None
    own = shape_of(text)
    if own is None:
        return f"{text!r} is not a time", None
    if own.zoned != shape.zoned:
        return (
            f"{text!r} {'has a zone' if own.zoned else 'has no zone'}",
            "stamps with and without a zone are mixed",
        )
    if own != shape:
        why = "one file has one way to write a time"
        return f"{text!r} is written unlike the first stamp", why + "; if both are meant, say `ts_format=A|B`"
    if not str(FIRST_YEAR) <= text[:4] <= str(LAST_YEAR):
        return f"{text!r} is not a time between {FIRST_YEAR} and {LAST_YEAR}", None
    return f"{text!r} is not a time", "a part of it is out of range"


def _unused(option: str, value: object, why: str) -> tuple[str, ...]:
    return () if value is None else (f"`{option}={str(value)!r}` is not used: {why}",)
