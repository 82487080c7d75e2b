"""Impossible rows that a write keeps aside; the same row, rule and source is kept once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from qmtl.foundation.frames import VALUES
from qmtl.runtime.io.sql.dialect import Connection
from qmtl.runtime.io.store.values import Write

_VALUES = ", ".join(VALUES)
_INSERT = (
    f"INSERT INTO quarantine (series, ts, {_VALUES}, rule, source, checked_at, tx)"
    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
)
_THERE = f"SELECT {_VALUES}, rule FROM quarantine WHERE series = ?1 AND source = ?2 AND ts = ?3"
# A column that is compared with what may be null is not looked up in an index of PostgreSQL.
_THERE_UNDATED = _THERE.replace("ts = ?3", "ts IS NULL")

# A time, five numbers, and a rule; NaN by name, which equals itself.
Row = tuple[Any, ...]


def keep_aside(connection: Connection, number: int, write: Write, tx: int) -> bool:
    """Put the impossible rows of a write into the quarantine of a series; whether any is new."""
    if write.quarantine is None or not write.quarantine.height:
        return False
    rows = {_comparable(row): row for row in _rows(write.quarantine)}
    there = _there(connection, number, write.source, list(dict.fromkeys(ts for ts, *_ in rows)))
    kept_as = connection.dialect.from_float
    fresh = [
        (number, ts, *map(kept_as, values), rule, write.source, write.checked_at, tx)
        for row, (ts, *values, rule) in rows.items()
        if row not in there
    ]
    if fresh:
        connection.queue(_INSERT, fresh)
    return bool(fresh)


def _rows(frame: pl.DataFrame) -> Iterable[Row]:
    return frame.select(pl.col("ts").to_physical(), *VALUES, "rule").iter_rows()


def _there(connection: Connection, number: int, source: str, times: Sequence[int | None]) -> set[Row]:
    """The rows of a source that are in the quarantine at some times."""
    dated = [ts for ts in times if ts is not None]
    found = zip(dated, connection.each(_THERE, [(number, source, ts) for ts in dated]), strict=True)
    there = {_comparable((ts, *row)) for ts, rows in found for row in rows}
    if len(dated) < len(times):
        undated = connection.execute(_THERE_UNDATED, (number, source)).fetchall()
        there |= {_comparable((None, *row)) for row in undated}
    return there


def _comparable(row: Row) -> Row:
    return tuple("nan" if value != value else value for value in row)
