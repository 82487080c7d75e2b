"""The bars of chunks as rows of a table in QuestDB, each chunk under a number that is never used again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter
from secrets import randbits

import numpy as np
import pyarrow as pa

from qmtl.foundation.errors import StoreError
from qmtl.foundation.frames import VALUES
from qmtl.foundation.series import SeriesId
from qmtl.foundation.times import iso
from qmtl.runtime.io.questdb.filling import COLUMNS, asked, missing_volumes, put
from qmtl.runtime.io.questdb.server import StatementError
from qmtl.runtime.io.questdb.table import BarTable, having, quoted
from qmtl.runtime.io.sql.chunks import Chunk, Numbered
from qmtl.runtime.io.sql.codec import DamagedError, Packed, checksum_of, decode, plain_bytes, unpack
from qmtl.runtime.io.store.rows import Rows, allocate

# Chunks that are sent, compared and asked for at a time: what is in memory twice is bounded, and so is a
# statement. What is sent at a time is a transaction, which the server applies by itself: a year by 8 at a
# time took half as long again.
_SENT, _COMPARED, _ASKED = 32, 128, 256


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
        # How often chunks were written, by whomever has this object.
        self.writes = 0
        self.at_risk: str | None = "nobody has asked QuestDB whether it waits for the disk"

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
        self.writes += 1
        self.write_as([(series, *one) for one in zip(numbers, chunks, strict=True)])
        return numbers

    def write_as(self, chunks: Sequence[Numbered]) -> None:
        self.put(self.asks())
        table = self.table
        try:
            _write(table, chunks)
        except StoreError:
            if not self._have_left(table):
                raise
            self.write_as(chunks)

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

    def fill(self, chunks: Sequence[tuple[SeriesId, Chunk]], target: Rows) -> list[bool | DamagedError]:
        outcomes: list[bool | DamagedError] = []
        row = 0
        for some in _questions(chunks):
            end = row + sum(chunk.rows for _, chunk in some)
            outcomes += self._filled(some, target.cut(row, end))
            row = end
        return outcomes

    def _filled(self, chunks: Sequence[tuple[SeriesId, Chunk]], target: Rows) -> list[bool | DamagedError]:
        table = self.table
        try:
            are_there = put(asked(table, chunks), chunks, target)
        except StatementError:
            are_there = False  # the other way says what is the matter with the table
        if are_there:
            return list(missing_volumes([chunk for _, chunk in chunks], target))
        outcomes: list[bool | DamagedError] = []
        row = 0
        for (_, chunk), blob in zip(chunks, self.read(chunks), strict=True):
            row, first = row + chunk.rows, row
            outcomes.append(_outcome(chunk, blob, target.cut(first, row)))
        return outcomes

    def are_in(self, place: int, chunks: Sequence[Chunk]) -> bool:
        if place == self.table.place and not self._has_moved:
            return True
        self.put(place)
        found = (self.table.count(chunks[first : first + _ASKED]) for first in range(0, len(chunks), _ASKED))
        return sum(found) == sum(chunk.rows for chunk in chunks)


def _questions(chunks: Sequence[tuple[SeriesId, Chunk]]) -> Iterator[list[tuple[SeriesId, Chunk]]]:
    """Chunks that are asked for together: of not too many numbers, which parts of a chunk share."""
    some: list[tuple[SeriesId, Chunk]] = []
    numbers: set[int] = set()
    for named in chunks:
        if len(numbers) == _ASKED and named[1].id not in numbers:
            yield some
            some, numbers = [], set()
        some.append(named)
        numbers.add(named[1].id)
    if some:
        yield some


def _outcome(chunk: Chunk, blob: bytes | DamagedError, target: Rows) -> bool | DamagedError:
    try:
        if isinstance(blob, DamagedError):
            raise blob
        return unpack(Packed(*chunk[1:], blob), target)
    except DamagedError as failure:
        return failure


def as_bytes(found: Sequence[Rows]) -> list[bytes | DamagedError]:
    """Rows of chunks as those of `pack_plain`."""
    return [
        plain_bytes(rows) if rows.size else DamagedError("its rows are gone from QuestDB") for rows in found
    ]


def _write(table: BarTable, chunks: Sequence[Numbered]) -> None:
    table.check()  # the client would make a table that is missing, and not as ours
    wrong = _sent(table, chunks)
    if wrong is not None:
        # The server takes rows, and throws them away without a word, where they come by a connection that
        # knew the table before it was dropped and made anew: seen with 9.3.4.
        table.server.close()
        wrong = _sent(table, chunks)
    if wrong is not None:
        series, why = wrong
        raise StoreError(
            "QuestDB does not give back what was written",
            path=table.server.address.shown,
            series=series,
            why=why,
            next_step="nothing was committed; look into the log of the server, and repeat",
        )


def _sent(table: BarTable, chunks: Sequence[Numbered]) -> tuple[SeriesId, str] | None:
    """Send chunks, and read them back: the series of the first that is another, and what is wrong with it."""
    for series, of_one in groupby(chunks, itemgetter(0)):
        while some := list(islice(of_one, _SENT)):
            rows = [_rows_of(chunk) for _, _, chunk in some]
            table.server.send(table.name, series.text, [number for _, number, _ in some], rows)
    table.settle()
    written = [(series, Chunk(number, *chunk[:5])) for series, number, chunk in chunks]
    return next(_differing(table, written), None)


def _differing(table: BarTable, written: Sequence[tuple[SeriesId, Chunk]]) -> Iterator[tuple[SeriesId, str]]:
    """What is wrong with chunks that were sent, read back, and of which series they are."""
    for first in range(0, len(written), _COMPARED):
        some = written[first : first + _COMPARED]
        if put(asked(table, some), some, allocate(sum(chunk.rows for _, chunk in some))):
            continue
        for (series, chunk), back in zip(some, as_bytes(rows_in(table, some)), strict=True):
            if isinstance(back, DamagedError):
                yield series, str(back)
            elif checksum_of(back) != chunk.checksum:
                times = f"from {iso(chunk.first_ts)} to {iso(chunk.last_ts)}"
                yield series, f"its rows {times} have other values"


def rows_in(table: BarTable, chunks: Sequence[tuple[SeriesId, Chunk]]) -> list[Rows]:
    """The rows of each chunk that a table has."""
    found: list[Rows] = []
    for first in range(0, len(chunks), _ASKED):
        found += _some_rows_in(table, chunks[first : first + _ASKED])
    return found


def _some_rows_in(table: BarTable, chunks: Sequence[tuple[SeriesId, Chunk]]) -> list[Rows]:
    names = ", ".join(sorted({quoted(series.text) for series, _ in chunks}))
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
    return _by_number(found, [chunk for _, chunk in chunks])


_COLUMNS = {**COLUMNS, "tx": pa.int64()}


def _by_number(found: pa.Table, chunks: Sequence[Chunk]) -> list[Rows]:
    """The rows of each number between the stamps of its chunk, in order of time."""
    values = [found[name].to_numpy() for name in VALUES]  # a missing one is NaN
    rows, tx = Rows(found["ts"].cast(pa.int64()).to_numpy(), *values), found["tx"].to_numpy()
    order = np.argsort(tx, kind="stable")
    ends = np.searchsorted(tx[order], np.array([[chunk.id, chunk.id + 1] for chunk in chunks]))
    parts = []
    for chunk, (first, last) in zip(chunks, ends.tolist(), strict=True):
        places = order[first:last]
        if last > first and places[-1] - places[0] == last - first - 1:  # they follow one another
            part = rows.cut(int(places[0]), int(places[-1]) + 1)
        else:
            part = rows.pick(places)
        parts.append(part.between(chunk.first_ts, chunk.last_ts))
    return parts


def _rows_of(chunk: Packed) -> Rows:
    rows = allocate(chunk.rows)
    decode(chunk.blob, rows)
    return rows


def _is_short(found: Rows, chunk: Chunk) -> bool:
    return found.size != chunk.rows
