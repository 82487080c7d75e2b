"""One series at one commit, as tables hold it; what is damaged is left out and listed."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from functools import cache
from itertools import chain
from typing import Any

import numpy as np

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array, Span
from qmtl.foundation.times import EARLIEST, LATEST
from qmtl.runtime.io.sql.chunks import Chunk
from qmtl.runtime.io.sql.codec import (
    DamagedError,
    Packed,
    checksum_of,
    header_of,
    unpack,
)
from qmtl.runtime.io.sql.dialect import LIVE, Connection, Cursor, Dialect, Question
from qmtl.runtime.io.sql.facts import decoded
from qmtl.runtime.io.sql.single_rows import Stored, place_of, unpack_single
from qmtl.runtime.io.store.damage import Damage
from qmtl.runtime.io.store.rows import NO_ROWS, Rows, allocate
from qmtl.runtime.io.store.values import CoverageRecord

# The bytes of a chunk, or their parts where rows lie elsewhere.
BYTES = "SELECT data FROM blob WHERE chunk = ?"
# Chunks beside a stamp, nearest first, and those of a range.
BEFORE = "AND last_ts < :ts ORDER BY last_ts DESC LIMIT :count"
AFTER = "AND last_ts > :ts ORDER BY last_ts LIMIT :count"
# Single rows, and those of a range.
SINGLES = "SELECT ts, tx_from, data FROM hot WHERE series = :series AND @at"
SINGLES_BETWEEN = f"{SINGLES} AND ts BETWEEN :low AND :high ORDER BY ts"
_LATELY = 4
# The same where rows lie elsewhere, and so many come at once: to ask takes longer than what comes.
_FROM_ELSEWHERE = 32


@cache
def chunks_between(dialect: Dialect) -> str:
    """The query of chunks with rows possibly in `:low <= ts <= :high`, and of others behind it."""
    end = " AND first_ts <= :high" if dialect.is_server else ""
    return f"{dialect.entry} AND last_ts >= :low{end} ORDER BY last_ts"


def question(sql: str, number: int | None, tx: int, **values: int) -> Question:
    """A query of a series at a commit; @at is what was valid then. number: the row id of the series."""
    return Question(_at(sql, tx == LIVE), {**values, "series": number or -1, "tx": tx, "live": LIVE})


@cache
def _at(sql: str, is_live: bool) -> str:
    return sql.replace("@at", "tx_to = :live" if is_live else "tx_from <= :tx AND tx_to > :tx")


def bytes_of_each(
    connection: Connection, chunks: Sequence[tuple[SeriesId, Chunk]]
) -> list[bytes | DamagedError]:
    """The bytes of chunks, or why they cannot be had."""
    if connection.elsewhere is not None:
        return connection.elsewhere.read(chunks)
    try:
        found = connection.each(BYTES, [(chunk.id,) for _, chunk in chunks])
        return [_whole(next(iter(rows), None)) for rows in found]
    except Exception as failure:  # of the engine: only its dialect can name those that tell of damage
        # An engine itself meets damage where it hits the links between the pages of one blob.
        if not connection.dialect.is_damage(failure):
            raise
        if len(chunks) == 1:
            return [DamagedError(str(failure))]
    return [one for chunk in chunks for one in bytes_of_each(connection, [chunk])]


def bytes_in_turn(
    connection: Connection, portions: Sequence[Sequence[tuple[SeriesId, Chunk]]]
) -> Generator[list[bytes | DamagedError], None, None]:
    """As `bytes_of_each` for each of some portions, in order; see `Connection.each_in_turn`."""
    done = 0
    if connection.elsewhere is None:
        try:
            asked = ([(chunk.id,) for _, chunk in chunks] for chunks in portions)
            with closing(connection.each_in_turn(BYTES, asked)) as coming:
                for found in coming:
                    blobs = [_whole(next(iter(rows), None)) for rows in found]
                    done += 1
                    yield blobs
        except Exception as failure:  # as above
            if not connection.dialect.is_damage(failure):
                raise
    for chunks in portions[done:]:
        yield bytes_of_each(connection, chunks)


def _whole(row: Any) -> bytes | DamagedError:
    if row is None:
        return DamagedError("its bytes are gone")
    return row[0] if isinstance(row[0], bytes) else DamagedError("its bytes are of another kind")


def packed(chunk: Chunk, blob: bytes | DamagedError) -> Packed | DamagedError:
    """A chunk with its bytes, if they can be had."""
    return blob if isinstance(blob, DamagedError) else Packed(*chunk[1:], blob)


class View:
    """One series at one commit, on a connection with an open transaction.

    Damaged parts are left out and listed in `damage`.
    """

    def __init__(
        self,
        connection: Connection,
        series: SeriesId,
        number: int | None,
        tx: int,
        *,
        has_hot: bool = True,
        has_lost: bool = True,
    ) -> None:
        """`number` is the row id of the series; None if the store does not know it. `tx` may be LIVE.

        has_hot, has_lost: False where it is known that there are no single rows, or no ranges lost to damage.
        """
        self.has_hot, self._has_lost = has_hot, has_lost
        self.connection = connection
        self.series = series
        self.number = number
        self.tx = tx
        self._lately: dict[int, Rows] = {}  # a write compares with a chunk, and then makes it anew
        self.damage: list[Damage] = []

    def rows(self, sql: str, **values: int) -> Cursor:
        """What a query of the series finds; @at is what was valid at the commit."""
        return self.connection.execute(*self.question(sql, **values))

    def question(self, sql: str, **values: int) -> Question:
        """The query of the series at the commit."""
        return question(sql, self.number, self.tx, **values)

    def chunks(self, low: int, high: int) -> list[Chunk]:
        """Those with rows possibly in `low <= ts <= high`, in order."""
        return self.chunks_among(self.rows(chunks_between(self.connection.dialect), low=low, high=high), high)

    def chunks_among(self, found: Iterable[Any], high: int) -> list[Chunk]:
        """The chunks of rows that `chunks_between` has found."""
        chunks: list[Chunk] = []
        is_disjoint, last = True, EARLIEST - 1
        for *row, is_sound in found:
            if not is_sound:
                self.report_entry(Chunk(*row))
                continue
            # Chunks are disjoint: once one begins behind the range, so do all that follow.
            if row[1] > high:
                break
            is_disjoint &= row[1] > last
            last = row[2]
            chunks.append(Chunk(*row))
        return chunks if is_disjoint else self._disjoint(chunks)

    def _disjoint(self, chunks: list[Chunk]) -> list[Chunk]:
        """Those that overlap no other one; of two that do, nobody can say which of them still holds."""
        overlapping = set()
        for at, chunk in enumerate(chunks):
            for before in reversed(chunks[:at]):
                if before.last_ts < chunk.first_ts:
                    break
                overlapping |= {before, chunk}
        for chunk in overlapping:
            self.report_chunk(chunk, DamagedError("it overlaps another chunk of the series"))
        return [chunk for chunk in chunks if chunk not in overlapping]

    def chunks_before(self, ts: int, count: int) -> list[Chunk]:
        """Up to `count` chunks that end before `ts`, in order."""
        found = self.rows(f"{self.connection.dialect.entry} {BEFORE}", ts=ts, count=count)
        return self.sound_among(found.fetchall())[::-1]

    def chunks_after(self, ts: int, count: int) -> list[Chunk]:
        """Up to `count` chunks that end after `ts`, in order."""
        found = self.rows(f"{self.connection.dialect.entry} {AFTER}", ts=ts, count=count)
        return self.sound_among(found.fetchall())

    def sound_among(self, found: Iterable[Any]) -> list[Chunk]:
        """The chunks of rows that were found, without those whose entries are damaged."""
        chunks = []
        for *row, is_sound in found:
            if is_sound:
                chunks.append(Chunk(*row))
            else:
                self.report_entry(Chunk(*row))
        return chunks

    def bytes_of(self, chunk: Chunk) -> bytes | DamagedError:
        """The bytes of a chunk, or why they cannot be had."""
        (found,) = bytes_of_each(self.connection, [(self.series, chunk)])
        return found

    def packed(self, chunk: Chunk) -> Packed | DamagedError:
        """A chunk with its bytes, or why they cannot be had."""
        return packed(chunk, self.bytes_of(chunk))

    def report_chunk(self, chunk: Chunk, failure: DamagedError) -> None:
        """One more damage: of what the index says of a chunk, and of what its own bytes say."""
        if any(damage.chunk == chunk.id for damage in self.damage):
            return
        first, last = failure.bounds or (chunk.first_ts, chunk.last_ts)
        self._report(min(first, chunk.first_ts), max(last, chunk.last_ts), chunk.id, str(failure))

    def report_entry(self, chunk: Chunk) -> None:
        """One more damage: of an entry of the index, whose fields are not to be believed."""
        if any(damage.chunk == chunk.id for damage in self.damage):
            return
        # Elsewhere the whole series is searched, for the stamps are not to be believed either.
        blob = self.bytes_of(chunk._replace(first_ts=EARLIEST, last_ts=LATEST))
        claimed: tuple[Any, ...] = (chunk.first_ts, chunk.last_ts)
        stamps = [stamp for stamp in claimed if isinstance(stamp, int)]
        if isinstance(blob, bytes) and (bounds := header_of(blob)) is not None:
            # Bytes that match their checksum are what was written, whatever the entry says.
            stamps = list(bounds) if checksum_of(blob) == chunk.checksum else [*stamps, *bounds]
        first, last = (min(stamps), max(stamps)) if stamps else (EARLIEST, LATEST)
        self._report(first, last, chunk.id, "its entry in the index does not match its checksum")

    def report_history(self, why: str) -> None:
        """One more damage: of earlier commits, so that nobody can say which bars were right then."""
        if not any(damage.of_index and damage.covers for damage in self.damage):
            everywhere = Span(EARLIEST, LATEST)
            self.damage.append(Damage(self.series, everywhere, None, why, of_index=True, covers=True))

    def report_index(self, why: str) -> None:
        """One more damage: of the index of the series, so that nobody can say which bars it has hidden."""
        if not any(damage.of_index and not damage.covers for damage in self.damage):
            self.damage.append(Damage(self.series, self.extent(), None, why, of_index=True))

    def extent(self) -> Span:
        """From the first to the last instant that the series has rows or answers for, as far as is seen."""
        step = self.series.timeframe.step
        found = self.rows(
            'SELECT min(low), max(high) FROM (SELECT min(start) AS low, max("end") AS high FROM answer'
            " WHERE series = :series AND @at UNION ALL SELECT min(first_ts), max(last_ts) + :step FROM chunk"
            " WHERE series = :series AND @at UNION ALL SELECT min(ts), max(ts) + :step FROM hot"
            " WHERE series = :series AND @at) AS parts",
            step=step,
        ).fetchone()
        sane = all(isinstance(edge, int) and EARLIEST <= edge <= LATEST for edge in found)
        return Span(*found) if sane and found[0] <= found[1] else Span(EARLIEST, LATEST)

    def load(self, chunk: Chunk, later: Sequence[Chunk] = ()) -> Rows:
        """The rows of a chunk; none (and one more damage) if it is damaged. The last few are kept.

        later: chunks that are wanted after it. Where rows lie elsewhere, some of them come along with it.
        """
        rows = self._lately.get(chunk.id)
        if rows is None:
            if self.connection.elsewhere is None:
                self._load([chunk], _LATELY)
            else:
                others = [one for one in later if one.id not in self._lately]
                self._load([chunk, *others[: _FROM_ELSEWHERE - 1]], _FROM_ELSEWHERE)
            rows = self._lately[chunk.id]
        return rows

    def _load(self, chunks: Sequence[Chunk], kept: int) -> None:
        blobs = bytes_of_each(self.connection, [(self.series, chunk) for chunk in chunks])
        while len(self._lately) + len(chunks) > kept:
            del self._lately[next(iter(self._lately))]
        for chunk, blob in zip(chunks, blobs, strict=True):
            self._lately[chunk.id] = self.unpacked(chunk, packed(chunk, blob))

    def unpacked(self, chunk: Chunk, packed: Packed | DamagedError) -> Rows:
        """The rows of a chunk by its bytes; none (and one more damage) if it is damaged."""
        rows = allocate(chunk.rows)
        try:
            if isinstance(packed, DamagedError):
                raise packed
            unpack(packed, rows)
        except DamagedError as failure:
            self.report_chunk(chunk, failure)
            return NO_ROWS
        return rows

    def hot(self, low: int, high: int) -> Rows:
        """Single rows with `low <= ts <= high`."""
        if not self.has_hot:
            return NO_ROWS
        return self.singles_among(self.rows(SINGLES_BETWEEN, low=low, high=high).fetchall())

    def singles_among(self, found: Sequence[Any]) -> Rows:
        """The single rows that a query of `SINGLES` has found, in either order."""
        if not found:
            return NO_ROWS
        if found[0][0] > found[-1][0]:
            found = found[::-1]
        stored = [Stored(*row) for row in found]
        rows, damaged = unpack_single(self.number or -1, stored)
        for position in damaged:
            self.report_stored(stored[position])
        steps = np.diff(rows.ts)
        if (steps > 0).all():
            return rows
        if (steps < 0).any():
            self.report_index("the single rows of the series are not in order of time")
            return NO_ROWS
        # Of two rows of one bar nobody can say which of them holds.
        doubled = np.unique(rows.ts[1:][steps == 0])
        for ts in doubled.tolist():
            self.report_single(ts, "there are several single rows of the same bar")
        return rows.pick(~np.isin(rows.ts, doubled))

    def hot_over(self, low: int, high: int) -> int:
        """How many single rows with `low <= ts <= high` lie over a row of a chunk."""
        found = self.rows(
            "SELECT count(*) FROM hot WHERE series = :series AND @at"
            " AND ts BETWEEN :low AND :high AND over = 1",
            low=low,
            high=high,
        )
        return int(found.fetchone()[0])

    def hot_stamps(self) -> Int64Array:
        """The stamps of all single rows, ascending."""
        found = self.rows("SELECT ts FROM hot WHERE series = :series AND @at ORDER BY ts").fetchall()
        return np.array([ts for (ts,) in found], dtype=np.int64)

    def report_stored(self, row: Stored) -> None:
        """One more damage: of a single row; of the index if its bytes are sound, and of another bar.

        What lay where it is now, or is missing where it was, nobody can say then.
        """
        place = None if self.connection.dialect.has_proofs else place_of(self.number or -1, row.data)
        if place is None or place == (row.ts, row.tx_from):
            self.report_single(row.ts)
        else:
            self.report_index("a single row lies where another bar does")

    def report_single(self, ts: int, why: str = "a single row does not match its checksum") -> None:
        """One more damage: of a single row, or of the index if no bar opens then."""
        if ts % self.series.timeframe.step != self.series.timeframe.origin % self.series.timeframe.step:
            self.report_index("a single row lies where no bar opens")
            return
        if not any(damage.covers and damage.span.start == ts for damage in self.damage):
            self._report(ts, ts, None, why, covers=True)

    def _report(self, first: int, last: int, chunk: int | None, why: str, *, covers: bool = False) -> None:
        first, last = max(first, EARLIEST), min(last, LATEST - self.series.timeframe.step)
        span = Span(min(first, last), last + self.series.timeframe.step)
        self.damage.append(Damage(self.series, span, chunk, why, covers=covers))

    def answers(self, span: Span, *, touching: bool = False) -> list[CoverageRecord]:
        """The coverage records that meet the span (or touch it), ordered."""
        reach = 1 if touching else 0
        ends = {"start": span.start - reach, "stop": span.end + reach}
        return self.answers_among(self.rows(self.connection.dialect.records, **ends), span.end + reach)

    def answers_among(self, found: Iterable[Any], stop: int) -> list[CoverageRecord]:
        """The records of rows that were found, up to one that begins at `stop`."""
        answers = []
        for *row, is_sound in found:
            if not is_sound:
                self.report_index("an answer does not match its checksum")
                continue
            if row[0] >= stop:
                break
            answers.append(CoverageRecord(*row))
        return answers

    def facts(self) -> SeriesFacts | None:
        """What is declared."""
        sound = self.connection.dialect.sound["facts"]
        found = self.rows(f"SELECT facts, {sound} FROM facts WHERE series = :series AND @at").fetchone()
        if found is None:
            return None
        if not found[1]:
            raise StoreCorruptError(
                "what is declared of the series is damaged",
                series=self.series,
                next_step="`qmtl store verify --repair` forgets it; then declare it again",
            )
        return decoded(found[0])

    def lost(self) -> Coverage:
        """Ranges that damage has taken from this commit, and that nobody has answered for since."""
        if not self._has_lost:
            return EMPTY
        return Coverage(self.rows('SELECT start, "end" FROM lost WHERE series = :series AND @at'))

    def believed(self, rows: Rows) -> Rows:
        """Rows without those that lay beneath a lost one, now or earlier: a newer value was there."""
        spans = [damage.span for damage in self.damage if damage.covers]
        spans += chain.from_iterable(damage.over for damage in self.damage)
        if self._has_lost:
            spans += self.rows('SELECT start, "end" FROM lost WHERE series = :series AND @at AND covers = 1')
        return rows.pick(~Coverage(spans).holds(rows.ts)) if spans and rows.size else rows

    def gone(self) -> Coverage:
        """Where rows or records are lost to damage, met just now or earlier."""
        lost = self.lost()
        return Coverage(damage.span for damage in self.damage) | lost if self.damage else lost
