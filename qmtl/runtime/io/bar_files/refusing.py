"""What of a table has no meaning: the first such thing, why, and the lines of all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NoReturn

import numpy as np
import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import VALUES
from qmtl.foundation.timeline import Int64Array
from qmtl.runtime.io.bar_files.clock_changes import about_change
from qmtl.runtime.io.bar_files.collecting import collected
from qmtl.runtime.io.bar_files.columns import ChosenColumns
from qmtl.runtime.io.bar_files.epochs import NUMBER, UNITS
from qmtl.runtime.io.bar_files.formats import StampFormat
from qmtl.runtime.io.bar_files.options import Reading
from qmtl.runtime.io.bar_files.stamps import Stamps, why_unread
from qmtl.runtime.io.bar_files.tables import Table

_SHOWN = 5

_NEXT_STEP = {
    "ts": "fix the stamps; if they are local, say `tz='ZONE'`, or write them in UTC",
    "value": "fix the file, say which words stand for no value with `null=WORD`, or which column is "
    "which with `columns=`",
}


def refuse_unread(
    table: Table,
    chosen: ChosenColumns,
    lazy: pl.LazyFrame,
    stamps: Stamps,
    reading: Reading,
    rows: pl.DataFrame,
    why_not: Mapping[int, str],
) -> NoReturn:
    """Name the first thing that has no meaning, and the lines of all.

    why_not: why it is not certain which of its two instants a repeated time is, by line.
    """
    unread = rows.filter("unread")
    first = unread["line"].item(0)
    # Stamps as text: Python knows no year beyond 9999.
    row = lazy.filter(pl.col("line") == first).with_columns(pl.col("ts").cast(pl.String))
    stored = collected(table, row).row(0, named=True)
    column, what, why, step = "ts", "", None, _NEXT_STEP["ts"]
    for name in VALUES:
        if name in chosen.values and _has_text(stored[name]) and unread[name].item(0) is None:
            if str(stored[name]).strip() in reading.null:
                continue
            column, what, step = name, f"{stored[name]!r} is not a number", _NEXT_STEP["value"]
            why, step = _about_number(str(stored[name]), reading, step)
            break
    if unread["ts"].item(0) is None:
        column, step = "ts", _NEXT_STEP["ts"]
        what, why = why_unread(stored["ts"], stamps, reading)
        if stored["ts"] == chosen.name_in_file("ts", table).replace(" and ", " "):
            what, why = "the header is repeated", "files were put together with their headers"
        elif stamps.counts and NUMBER.fullmatch(str(stored["ts"]).strip()):
            _refuse_other_unit(table, rows, first, str(stored["ts"]).strip(), reading)
        elif (change := _change_of_clocks(table, lazy, stamps, first, why_not)) is not None:
            what, why, step = change
        elif _is_foot(table, lazy, rows, first):
            step = "if these lines are no bars, leave them out with `skip_foot=N`"
        elif reading.ts_format is not None:
            step = _about_format(str(stored["ts"]), reading.ts_format)
    others = [str(line) for line in unread["line"].head(_SHOWN).to_list()]
    lines = ", ".join(others) + (f", ... {unread.height} in all" if unread.height > _SHOWN else "")
    raise InvalidRequestError(
        f"{table.name}, {table.place} {first}, column {chosen.name_in_file(column, table)!r}: {what}",
        why=(f"{why}; " if why else "") + f"{table.place}{'s'[: unread.height != 1]} concerned: {lines}",
        next_step=step,
    )


def _change_of_clocks(
    table: Table, lazy: pl.LazyFrame, stamps: Stamps, line: int, why_not: Mapping[int, str]
) -> tuple[str, str, str] | None:
    """The explanation for the stamp in a line, if it is a time that its clock skips or repeats."""
    clock = stamps.clock
    if clock is None:
        return None
    row = lazy.filter(pl.col("line") == line).select(
        text=pl.col("ts").cast(pl.String),
        wall=clock.wall,
        first=clock.instants("earliest").cast(pl.Int64),
        second=clock.instants("latest").cast(pl.Int64),
    )
    found = collected(table, row).row(0, named=True)
    if found["wall"] is None:
        return None
    return about_change(found["text"].strip(), clock, found["first"], found["second"], why_not.get(line))


def _about_number(text: str, reading: Reading, step: str) -> tuple[str | None, str]:
    """What the marks in a text that is no number suggest, by what was declared."""
    marks = set(re.findall(r"[.,]", text))
    if "," in marks and reading.decimal == "." and reading.thousands is None:
        why = "a decimal comma is not read unless it is declared, nor a comma between thousands"
        return (
            why,
            "say `decimal=,` if it is the decimal mark, or `thousands=,` if it stands between thousands",
        )
    if marks and (reading.decimal == "," or reading.thousands is not None):
        between = f", and {reading.thousands!r} between each three digits" if reading.thousands else ""
        why = f"numbers are declared to have {reading.decimal!r} as decimal mark{between}"
        return why, "one file has one way to write numbers: check `decimal=` and `thousands=`"
    return None, step


def _is_foot(table: Table, lazy: pl.LazyFrame, rows: pl.DataFrame, first: int) -> bool:
    """Whether all that has no meaning stands behind the last bar of a text file, and is no bar itself.

    A line with a price and digits in its stamp is a bar whose stamp is not understood.
    """
    good = rows.filter(~pl.col("unread"))
    if table.place != "line" or good.is_empty() or int(good["line"].max()) > first:  # type: ignore[arg-type]
        return False
    prices = [pl.col(name).is_not_null() for name in ("open", "high", "low", "close")]
    priced = rows.filter(pl.col("unread") & pl.any_horizontal(prices))["line"]
    dated = pl.col("ts").cast(pl.String).str.contains(r"\d") & pl.col("line").is_in(priced.to_list())
    return collected(table, lazy.filter(dated).select("line").head(1)).is_empty()


def _about_format(text: str, form: StampFormat) -> str:
    """What to do about a stamp that `ts_format=` does not read, or reads in two ways."""
    if len(form.meanings(text.strip())) > 1:
        return "leave out the format that the file does not use, or write the times year first"
    if other := form.swapped(text.strip()):
        return f"if the month stands where this format has the day, say `ts_format='{other}'`"
    return (
        "check `ts_format=`; if times are written in two ways, and this is one of them, say `ts_format='A|B'`"
    )


def _refuse_other_unit(table: Table, rows: pl.DataFrame, line: int, count: str, reading: Reading) -> None:
    """Raise if the stamp is one of a finer unit behind stamps of the one that was declared."""
    if rows["line"].item(0) < line and not rows["unread"].item(0):
        raise _change(table, line, count, reading)


def refuse_change_of_unit(table: Table, ts: Int64Array, lines: pl.Series, reading: Reading) -> None:
    """Raise `InvalidRequestError` where a stamp is about a thousand times the one before, or a thousandth.

    ts: int64 nanoseconds in the order of the file. Neighbours of one unit never differ so much, unless bars
    reach back to the first days of 1970.
    """
    size = np.abs(ts)
    if len(ts) < 2 or reading.unit is None or size.min() == 0 or size.max() / size.min() < _JUMP:
        return
    ratio = size[1:] / size[:-1]
    jumps = np.flatnonzero((ratio > _JUMP) | (ratio < 1 / _JUMP))
    if len(jumps):
        place = int(jumps[0]) + 1
        count = f"{ts[place] // UNITS[reading.unit]}"
        raise _change(table, int(lines[place]), count, reading)


_JUMP = 500.0


def _change(table: Table, line: int, count: str, reading: Reading) -> InvalidRequestError:
    step = "import the two parts one by one, each with its own `unit=`"
    if table.place == "line":
        step += f": head -n {line - 1} FILE > first.csv; tail -n +{line} FILE > second.csv"
    return InvalidRequestError(
        f"{table.name}, {table.place} {line}: the unit of the stamps changes",
        why=f"{count} is about a thousand times the stamp before, or a thousandth, in {reading.unit}",
        next_step=step,
    )


def _has_text(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""
