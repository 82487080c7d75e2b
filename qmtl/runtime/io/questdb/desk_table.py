"""A desk's own table of bars: which columns it has, and its rows in their order of time. It is only read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import VALUES, bars
from qmtl.foundation.questdb_table_address import QuestDBTableAddress
from qmtl.foundation.spelling import near
from qmtl.foundation.timeline import Int64Array, Span
from qmtl.foundation.times import LATEST, WEEK, iso
from qmtl.runtime.io.questdb.known_tables import columns_of
from qmtl.runtime.io.questdb.server import QuestDBServer, StatementError
from qmtl.runtime.io.questdb.table import quoted
from qmtl.runtime.io.questdb.wal import settle

# Types of columns that are served, with the nanoseconds of one step where they are of times.
_TIMES = {"TIMESTAMP": 1000, "TIMESTAMP_NS": 1}
_NUMBERS = ("DOUBLE", "FLOAT", "LONG", "INT", "SHORT", "BYTE")
_TEXTS = ("SYMBOL", "VARCHAR", "STRING")
_TYPES = {"ts": tuple(_TIMES), "symbol": _TEXTS, "updated_at": tuple(_TIMES)}
# Where a revision has no time, it is older than any that has one.
_NEVER = np.iinfo(np.int64).min


class DeskRows(NamedTuple):
    """Bars in order of time, one for each `ts`, and up to where that is all there is."""

    frame: pl.DataFrame
    upto: int


class DeskTable:
    """A table, or a view, as an address maps it. Any thread may call any method.

    What the server refuses, or does not answer, is a `StoreError`; what the address says wrongly of the table
    is an `InvalidRequestError`.
    """

    def __init__(self, address: QuestDBTableAddress) -> None:
        self.server = QuestDBServer(address)
        self._address = address
        self._step = 0

    def check(self) -> None:
        """See that the table is as the address says. Raises `InvalidRequestError`."""
        table, named = self._address.table, self._address.columns
        found = self._columns()
        if missing := [column for column in named.values() if column.lower() not in found]:
            raise InvalidRequestError(
                f"the table {table} has no column {missing[0]!r}",
                why=f"it has {', '.join(name for name, _, _ in found.values())}",
                next_step="name the columns of the table in the address: columns=ts=timestamp,open=o,...; "
                "volume= says that there is none",
            )
        for name, column in named.items():
            _, kind, is_designated = found[column.lower()]
            if kind not in (served := _TYPES.get(name, _NUMBERS)):
                raise InvalidRequestError(
                    f"the column {column!r} of the table {table} cannot be read as {name}",
                    why=f"it is of type {kind}, and not of {' or '.join(served)}",
                    next_step="name another column, or make a view of the table in which it is cast",
                )
            if name == "ts" and not is_designated:
                raise InvalidRequestError(
                    f"the column {column!r} of the table {table} is not its designated timestamp",
                    why="the table is in no order of it, so that each page would read all of it",
                    next_step="name the designated timestamp, or a table or view whose designated one it is",
                )
        self._step = _TIMES[found[named["ts"].lower()][1]]

    def _columns(self) -> dict[str, tuple[str, str, bool]]:
        """Name, type, and whether it is the designated timestamp, by the name in small letters."""
        table = self._address.table
        found = columns_of(self.server, table, '"column", type, designated')
        if found is None:
            there = [str(name) for (name,) in self.server.query("SELECT table_name FROM tables()")]
            alike = near(table, there)
            raise InvalidRequestError(
                f"QuestDB has no table {table!r}",
                why=f"{self._address.shown} names it",
                next_step=f"did you mean {' or '.join(alike)}?" if alike else "name a table that it has",
            )
        return {str(name).lower(): (str(name), str(kind), bool(is_it)) for name, kind, is_it in found}

    def symbols_like(self, symbol: str) -> list[str]:
        """Symbols of the table that are spelt nearly so; of very many, not all are looked at."""
        column = self._address.columns["symbol"]
        found = self.server.query(f'SELECT DISTINCT "{column}" FROM "{self._address.table}" LIMIT 10000')
        return near(symbol, [str(name) for (name,) in found if name is not None])

    def ends(self, symbol: str) -> tuple[int, int] | None:
        """The first and the last `ts` of a symbol, or None where it has no row; none that no bar can have."""
        ts = self._address.columns["ts"]
        of = f'SELECT cast("{ts}" AS long) FROM "{self._address.table}"{_where(self._of(symbol))}'
        found = [self.server.query(f"{of} LIMIT {place}") for place in (1, -1)]
        if not all(found):
            return None
        first, last = (min(int(rows[0][0]) * self._step, LATEST - WEEK) for rows in found)
        return first, last

    def settle(self) -> None:
        """Wait until the server shows all that it has taken. Raises `StoreError` where it does not."""
        settle(self.server, self._address.table)

    def rows(self, symbol: str, span: Span, most: int) -> DeskRows:
        """The bars from the start of a span on, of at most so many rows.

        Raises `InvalidRequestError` for rows that contradict each other, and values that are no float64.
        """
        named, step = self._address.columns, self._step
        ts = named["ts"]
        low, high = (max(0, -(-edge // step)) for edge in span)
        when = f'"{ts}" >= {low} AND "{ts}" < {high}'
        columns = ", ".join(f'"{column}" AS {name}' for name, column in named.items() if name != "symbol")
        try:
            found = self.server.export(
                f'SELECT {columns} FROM "{self._address.table}"{_where(when, self._of(symbol))}'
                f' ORDER BY "{ts}" LIMIT {most}'
            )
        except StatementError:
            self.check()  # it may have been dropped or altered since
            raise
        stamps = _nanoseconds(found["ts"])
        upto = span.end
        if found.num_rows >= most:
            # What follows may be of the same bar as the last row.
            upto = int(stamps[-1])
            found = found.slice(0, int(np.searchsorted(stamps, upto)))
            if found.num_rows == 0:
                raise self._contradiction(upto, f"has {most:,} rows or more for it")
        return DeskRows(self._frame(found), upto)

    def _of(self, symbol: str) -> str:
        """As SQL: which rows are those of a symbol; nothing where all are."""
        column = self._address.columns.get("symbol")
        return "" if column is None else f'"{column}" = {quoted(symbol)}'

    def _frame(self, found: pa.Table) -> pl.DataFrame:
        ts = _nanoseconds(found["ts"])
        frame = bars(ts, {name: self._numbers(found, name) for name in VALUES})
        if not np.any(ts[1:] == ts[:-1]):
            return frame
        if "updated_at" in found.column_names:
            newest = pl.Series("updated", _numbers_of_time(found["updated_at"]))
            frame = frame.with_columns(newest).filter(pl.col("updated") == pl.col("updated").max().over("ts"))
            frame = frame.drop("updated")
        frame = frame.unique(maintain_order=True)
        twice = frame.filter(pl.col("ts").is_duplicated())
        if twice.height:
            at = int(twice["ts"].to_numpy().view(np.int64)[0])
            one, other = (str(row[1:]) for row in twice.head(2).iter_rows())
            raise self._contradiction(at, f"has two different rows for it, {one} and {other}")
        return frame

    def _numbers(self, found: pa.Table, name: str) -> pl.Series:
        if name not in found.column_names:
            return pl.Series(name, [None] * found.num_rows, dtype=pl.Float64)
        try:
            return pl.Series(name, pc.cast(found[name], pa.float64()))
        except pa.ArrowInvalid as failure:
            raise InvalidRequestError(
                f"a value of the column {self._address.columns[name]!r} is no float64",
                why=str(failure),
                next_step="leave the column out, or make a view of the table in which it is cast",
            ) from failure

    def _contradiction(self, at: int, why: str) -> InvalidRequestError:
        has_times = "updated_at" in self._address.columns
        return InvalidRequestError(
            f"the table {self._address.table} contradicts itself about the bar of {iso(at)}",
            why=f"it {why}{', of the same time of revision' if has_times else ''}",
            next_step="drop the wrong ones, or make a view of the table without them"
            + ("" if has_times else "; where a column says when a row was written, name it: updated_at=..."),
        )


def _where(*conditions: str) -> str:
    given = " AND ".join(filter(None, conditions))
    return f" WHERE {given}" if given else ""


def _nanoseconds(column: pa.ChunkedArray) -> Int64Array:
    return _numbers_of_time(column.cast(pa.timestamp("ns", tz="UTC")))


def _numbers_of_time(column: pa.ChunkedArray) -> Int64Array:
    found: Int64Array = column.cast(pa.int64()).fill_null(_NEVER).to_numpy()
    return found
