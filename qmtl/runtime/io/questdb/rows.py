"""The bars of chunks as rows of a table in QuestDB, each chunk under a number that is never used again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from secrets import randbits

import numpy as np
import pyarrow as pa

from qmtl.foundation.errors import StoreError
from qmtl.foundation.frames import VALUES
from qmtl.foundation.series import SeriesId
from qmtl.foundation.times import iso
from qmtl.runtime.io.questdb.table import BarTable, having
from qmtl.runtime.io.sql.chunks import Chunk
from qmtl.runtime.io.sql.codec import DamagedError, Packed, decode, plain_bytes
from qmtl.runtime.io.store.rows import Rows, allocate

# Chunks that are sent, and asked for, at a time: what is in memory twice is bounded, and so is a statement.
_SENT, _ASKED = 8, 256


class QuestDBRows:
    """Implements `RowsElsewhere` on a table.

    Numbers are random, of 62 bits: a catalog that was brought back from a backup has forgotten which it gave
    out, and must not give them out again.
    """

    def __init__(self, table: BarTable) -> None:
        self.table = table
        # Asks the catalog where the rows are now, which another process may have changed.
        self.asks: Callable[[], int] = lambda: table.place
        self._has_moved = False

    def put(self, place: int) -> None:
        """Use the table of a place from now on."""
        if place != self.table.place:
            self._has_moved = True  # first, for other threads
            self.table = self.table.at(place)

    def _have_left(self, table: BarTable) -> bool:
        """Whether the rows are no longer in a table."""
        self.put(self.asks())
        return self.table.place != table.place

    def write(self, series: SeriesId, chunks: Sequence[Packed]) -> list[int]:
        numbers = [1 + randbits(62) for _ in chunks]
        self.write_as(series, numbers, chunks)
        return numbers

    def write_as(self, series: SeriesId, numbers: Sequence[int], chunks: Sequence[Packed]) -> None:
        self.put(self.asks())
        table = self.table
        try:
            self._write(table, series, numbers, chunks)
        except StoreError:
            if not self._have_left(table):
                raise
            self.write_as(series, numbers, chunks)

    def _write(
        self, table: BarTable, series: SeriesId, numbers: Sequence[int], chunks: Sequence[Packed]
    ) -> None:
        table.check()  # the client would make a table that is missing, and not as ours
        why = _sent(table, series, numbers, chunks)
        if why:
            # The server takes rows, and throws them away without a word, where they come by a connection that
            # knew the table before it was dropped and made anew: seen with 9.3.4.
            table.server.close()
            why = _sent(table, series, numbers, chunks)
        if why:
            raise StoreError(
                "QuestDB does not give back what was written",
                path=table.server.address.shown,
                series=series,
                why=why,
                next_step="nothing was committed; look into the log of the server, and repeat",
            )

    def read(self, chunks: Sequence[tuple[SeriesId, Chunk]]) -> list[bytes | DamagedError]:
        table = self.table
        try:
            found = rows_in(table, chunks)
            if any(_is_short(one, chunk) for one, (_, chunk) in zip(found, chunks, strict=True)):
                # A server that was just started may not show all of it yet: that is no damage.
                table.check()
                table.settle()
                found = rows_in(table, chunks)
        except StoreError:
            if not self._have_left(table):
                raise
            return self.read(chunks)
        is_short = any(_is_short(one, chunk) for one, (_, chunk) in zip(found, chunks, strict=True))
        if is_short and self._have_left(table):
            return self.read(chunks)
        return as_bytes(found)

    def are_in(self, place: int, chunks: Sequence[Chunk]) -> bool:
        if place == self.table.place and not self._has_moved:
            return True
        self.put(place)
        found = (self.table.count(chunks[first : first + _ASKED]) for first in range(0, len(chunks), _ASKED))
        return sum(found) == sum(chunk.rows for chunk in chunks)


def as_bytes(found: Sequence[Rows]) -> list[bytes | DamagedError]:
    """Rows of chunks as those of `pack_plain`."""
    return [
        plain_bytes(rows) if rows.size else DamagedError("its rows are gone from QuestDB") for rows in found
    ]


def _sent(table: BarTable, series: SeriesId, numbers: Sequence[int], chunks: Sequence[Packed]) -> str:
    """Send chunks, and read them back; what is wrong with them, or nothing."""
    coming = iter(zip(numbers, chunks, strict=True))
    while some := list(islice(coming, _SENT)):
        rows = [_rows_of(chunk) for _, chunk in some]
        table.server.send(table.name, series.text, [number for number, _ in some], rows)
    table.settle()
    written = [(series, Chunk(number, *chunk[:5])) for number, chunk in zip(numbers, chunks, strict=True)]
    for chunk, back in zip(chunks, as_bytes(rows_in(table, written)), strict=True):
        if isinstance(back, DamagedError):
            return str(back)
        if back != chunk.blob:
            return f"its rows from {iso(chunk.first_ts)} to {iso(chunk.last_ts)} have other values"
    return ""


def rows_in(table: BarTable, chunks: Sequence[tuple[SeriesId, Chunk]]) -> list[Rows]:
    """The rows of each chunk that a table has."""
    found: list[Rows] = []
    for first in range(0, len(chunks), _ASKED):
        found += _some_rows_in(table, chunks[first : first + _ASKED])
    return found


def _some_rows_in(table: BarTable, chunks: Sequence[tuple[SeriesId, Chunk]]) -> list[Rows]:
    names = ", ".join(sorted({_quoted(series.text) for series, _ in chunks}))
    try:
        found = table.server.export(
            f"SELECT ts, tx, {', '.join(VALUES)} FROM {table.name} WHERE series IN ({names})"
            f" AND {having([chunk for _, chunk in chunks])}"
        )
    except StoreError:
        table.check()  # whether it is the table says more than what became of the statement
        raise
    columns = dict(zip(found.schema.names, found.schema.types, strict=True))
    if columns != _COLUMNS:
        table.check()
        raise StoreError(
            "QuestDB gives columns of other types than its table has",
            path=table.server.address.shown,
            why=f"{columns}, not {_COLUMNS}",
            next_step="use a version of the server that the documentation names",
        )
    return _by_number(found, [chunk.id for _, chunk in chunks])


_COLUMNS = {"ts": pa.timestamp("ns", tz="UTC"), "tx": pa.int64(), **dict.fromkeys(VALUES, pa.float64())}


def _by_number(found: pa.Table, numbers: Sequence[int]) -> list[Rows]:
    """The rows of each number, in order of time."""
    values = [found[name].to_numpy() for name in VALUES]  # a missing one is NaN
    rows, tx = Rows(found["ts"].cast(pa.int64()).to_numpy(), *values), found["tx"].to_numpy()
    order = np.argsort(tx, kind="stable")
    ends = np.searchsorted(tx[order], np.array([[number, number + 1] for number in numbers]))
    parts = []
    for first, last in ends.tolist():
        places = order[first:last]
        if last > first and places[-1] - places[0] == last - first - 1:  # they follow one another
            parts.append(rows.cut(int(places[0]), int(places[-1]) + 1))
        else:
            parts.append(rows.pick(places))
    return parts


def _rows_of(chunk: Packed) -> Rows:
    rows = allocate(chunk.rows)
    decode(chunk.blob, rows)
    return rows


def _is_short(found: Rows, chunk: Chunk) -> bool:
    return found.size != chunk.rows


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
