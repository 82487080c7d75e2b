"""What of a table has no meaning: the first such thing, why, and the lines of all."""

from __future__ import annotations

import re
from typing import NoReturn

import numpy as np
import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import VALUES
from qmtl.foundation.timeline import Int64Array
from qmtl.runtime.io.bar_files.collecting import collected
from qmtl.runtime.io.bar_files.columns import Chosen
from qmtl.runtime.io.bar_files.epochs import NUMBER, UNITS
from qmtl.runtime.io.bar_files.options import Reading
from qmtl.runtime.io.bar_files.stamps import Stamps, why_not
from qmtl.runtime.io.bar_files.tables import Table

_SHOWN = 5

_NEXT_STEP = {
    "ts": "mend the stamps; if they are local, say `tz='ZONE'`, or write them in UTC",
    "value": "mend the file, say which words stand for no value with `null=WORD`, or which column is "
    "which with `columns=`",
}


def refuse_unread(
    table: Table, chosen: Chosen, lazy: pl.LazyFrame, stamps: Stamps, reading: Reading, rows: pl.DataFrame
) -> NoReturn:
    """Name the first thing that has no meaning, and the lines of all."""
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
        what, why = why_not(stored["ts"], stamps, reading)
        if stored["ts"] == chosen.called("ts", table).replace(" and ", " "):
            what, why = "the header is repeated", "files were put together with their headers"
        elif stamps.counts and NUMBER.fullmatch(str(stored["ts"]).strip()):
            _refuse_other_unit(table, rows, first, str(stored["ts"]).strip(), reading)
        elif _is_foot(table, rows, first):
            step = "if these lines are no bars, leave them out with `skip_foot=N`"
    others = [str(line) for line in unread["line"].head(_SHOWN).to_list()]
    lines = ", ".join(others) + (f", ... {unread.height} in all" if unread.height > _SHOWN else "")
    raise InvalidRequestError(
        f"{table.name}, {table.place} {first}, column {chosen.called(column, table)!r}: {what}",
        why=(f"{why}; " if why else "") + f"{table.place}{'s'[: unread.height != 1]} concerned: {lines}",
        next_step=step,
    )


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


def _is_foot(table: Table, rows: pl.DataFrame, first: int) -> bool:
    """Whether all that has no meaning stands behind the last bar of a text file."""
    good = rows.filter(~pl.col("unread"))
    return table.place == "line" and good.height > 0 and int(good["line"].max()) < first  # type: ignore[arg-type]


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
