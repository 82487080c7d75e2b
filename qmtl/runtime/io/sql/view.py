"""One series at one commit, as tables hold it; what is damaged is left out and listed."""

from __future__ import annotations

from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array, Span
from qmtl.foundation.times import EARLIEST, LATEST
from qmtl.runtime.io.sql.codec import (
    DamagedError,
    Packed,
    checksum_of,
    header_of,
    unpack,
)
from qmtl.runtime.io.sql.dialect import ALL_VERSIONS, COUNTS, LIVE, Connection, Cursor
from qmtl.runtime.io.sql.facts import decoded
from qmtl.runtime.io.sql.single_rows import Stored, place_of, unpack_single
from qmtl.runtime.io.sql.vanished_rows import covered_bars
from qmtl.runtime.io.store.damage import Damage
from qmtl.runtime.io.store.rows import NO_ROWS, Rows, allocate
from qmtl.runtime.io.store.values import CoverageRecord

_LATELY = 4


class Chunk(NamedTuple):
    """What the index says of a chunk; both stamps are those of rows."""

    id: int
    first_ts: int
    last_ts: int
    rows: int
    codec: int
    checksum: bytes


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
        self._has_hot, self._has_lost = has_hot, has_lost
        self.connection = connection
        self.series = series
        self.number = number
        self._at = "tx_to = :live" if tx == LIVE else "tx_from <= :tx AND tx_to > :tx"
        self._tx = tx
        self._entry = connection.dialect.entry
        self._lately: dict[int, Rows] = {}  # a write compares with a chunk, and then makes it anew
        self.damage: list[Damage] = []

    def rows(self, sql: str, **values: int) -> Cursor:
        values.update(series=self.number or -1, tx=self._tx, live=LIVE)
        return self.connection.execute(sql.replace("@at", self._at), values)

    def chunks(self, low: int, high: int) -> list[Chunk]:
        """Those with rows possibly in `low <= ts <= high`, in order."""
        end = "" if self.connection.dialect.is_lazy else " AND first_ts <= :high"
        found = self.rows(f"{self._entry} AND last_ts >= :low{end} ORDER BY last_ts", low=low, high=high)
        chunks = []
        for *row, is_sound in found:
            if not is_sound:
                self.report_entry(Chunk(*row))
                continue
            # Chunks are disjoint: once one begins behind the range, so do all that follow.
            if row[1] > high:
                break
            chunks.append(Chunk(*row))
        found.close()
        return chunks

    def chunks_before(self, ts: int, count: int) -> list[Chunk]:
        """Up to `count` chunks that end before `ts`, in order."""
        found = self.rows(
            f"{self._entry} AND last_ts < :ts ORDER BY last_ts DESC LIMIT :count", ts=ts, count=count
        )
        return self._sound(found)[::-1]

    def chunks_after(self, ts: int, count: int) -> list[Chunk]:
        """Up to `count` chunks that end after `ts`, in order."""
        found = self.rows(
            f"{self._entry} AND last_ts > :ts ORDER BY last_ts LIMIT :count", ts=ts, count=count
        )
        return self._sound(found)

    def _sound(self, found: Cursor) -> list[Chunk]:
        chunks = []
        for *row, is_sound in found.fetchall():
            if is_sound:
                chunks.append(Chunk(*row))
            else:
                self.report_entry(Chunk(*row))
        return chunks

    def bytes_of(self, chunk: Chunk) -> bytes | DamagedError:
        """A chunk as it lies in the file, or why it cannot be had."""
        try:
            query = "SELECT data FROM blob WHERE chunk = ?"
            found = self.connection.survivable(query, (chunk.id,)).fetchone()
        except Exception as failure:  # of the engine: only its dialect can name those that tell of damage
            # An engine itself meets damage where it hits the links between the pages of one blob.
            if self.connection.dialect.is_damage(failure):
                return DamagedError(str(failure))
            raise
        if found is None:
            return DamagedError("its bytes are gone")
        return found[0] if isinstance(found[0], bytes) else DamagedError("its bytes are of another kind")

    def packed(self, chunk: Chunk) -> Packed:
        """A chunk with its bytes. Raises `DamagedError` if they cannot be had."""
        blob = self.bytes_of(chunk)
        if isinstance(blob, DamagedError):
            raise blob
        return Packed(*chunk[1:], blob)

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
        blob = self.bytes_of(chunk)
        claimed: tuple[Any, ...] = (chunk.first_ts, chunk.last_ts)
        stamps = [stamp for stamp in claimed if isinstance(stamp, int)]
        if isinstance(blob, bytes) and (bounds := header_of(blob)) is not None:
            # Bytes that match their checksum are what was written, whatever the entry says.
            stamps = list(bounds) if checksum_of(blob) == chunk.checksum else [*stamps, *bounds]
        first, last = (min(stamps), max(stamps)) if stamps else (EARLIEST, LATEST)
        self._report(first, last, chunk.id, "its entry in the index does not match its checksum")

    def look_for_gaps(self) -> None:
        """Compare what the index has of the series with what was counted: damage can hide an entry wholly."""
        if self.number is None:
            return
        counted = self.connection.execute(
            f"SELECT chunks, hot, answers FROM series WHERE id = {self.number}"
        ).fetchone()
        there = self.connection.execute(f"SELECT {COUNTS} FROM series AS series_of WHERE id = {self.number}")
        if counted != (found := there.fetchone()):
            names = ("chunks", "single rows", "answers")
            lacking = ", ".join(
                f"{n} of {c} {w}" for n, c, w in zip(found, counted, names, strict=True) if n != c
            )
            self.report_index(f"the index of the series has {lacking}")
        misplaced = self.misplaced(live=True)
        for ts, _ in misplaced:
            if ts is None:
                self.report_index("a single row, and its place, are damaged")
            else:
                self.report_single(ts)
        if counted != found or misplaced:
            chunks = (chunk[:3] for chunk in self.chunks(-LIVE, LIVE - 1))
            over = covered_bars(self.connection, self.number, self.series.timeframe.step, chunks)
            if over:
                self.report_index("single rows are not found by their time")
            self.damage = [one._replace(over=over) if one.of_index else one for one in self.damage]

    def look_through_history(self) -> bool:
        """Look for rows of earlier commits whose place in the index is damaged: reads as of then miss them.

        The bytes of a single row say where it belongs. Where they do not match either, and where a row has
        vanished, nobody can say which bars are right. Whether all is sound, at whichever commit.
        """
        if self.number is None:
            return True
        counted, there = self.connection.execute(
            f"SELECT versions, {ALL_VERSIONS} FROM series AS series_of WHERE id = {self.number}"
        ).fetchone()
        if counted != there:
            self._report_history(f"the index of the series has {there} of {counted} versions")
        misplaced = self.misplaced()
        for ts, tx_from in misplaced:
            if ts is None:
                self._report_history("a single row of an earlier commit, and its place, are damaged")
            elif tx_from <= self._tx:
                self.report_single(ts)
        return bool(counted == there and not misplaced)

    def look_through_entries(self) -> None:
        """Look for chunks and answers of any commit whose entries are damaged."""
        sound = self.connection.dialect.sound
        for *row, _ in self.rows(
            "SELECT id, first_ts, last_ts, rows, codec, checksum, 0 FROM chunk"
            f" WHERE series = :series AND NOT ({sound['chunk']})"
        ).fetchall():
            self.report_entry(Chunk(*row))
        (count,) = self.rows(
            f"SELECT count(*) FROM answer WHERE series = :series AND NOT ({sound['answer']})"
        ).fetchone()
        if count:
            self.report_index("an answer does not match its checksum")

    def misplaced(self, *, live: bool = False) -> list[tuple[int | None, int]]:
        """Stamp and first commit of the single rows whose place is damaged, as their bytes say; else None.

        live: only of those that hold now.
        """
        same = self.connection.dialect.same
        which = f" AND tx_to {same} :live" if live else ""
        # Not `=`: SQLite would put the series that is looked for into the proof, in place of what is there.
        found = self.rows(
            f"SELECT data FROM hot WHERE series {same} :series{which}"
            f" AND NOT ({self.connection.dialect.sound['hot']})"
        ).fetchall()
        return [place_of(self.number or -1, data) or (None, 0) for (data,) in found]

    def _report_history(self, why: str) -> None:
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

    def load(self, chunk: Chunk) -> Rows:
        """The rows of a chunk; none (and one more damage) if it is damaged. The last few are kept."""
        rows = self._lately.get(chunk.id)
        if rows is None:
            rows = allocate(chunk.rows)
            try:
                unpack(self.packed(chunk), rows)
            except DamagedError as failure:
                self.report_chunk(chunk, failure)
                return NO_ROWS
            while len(self._lately) >= _LATELY:
                del self._lately[next(iter(self._lately))]
            self._lately[chunk.id] = rows
        return rows

    def hot(self, low: int, high: int) -> Rows:
        """Single rows with `low <= ts <= high`."""
        return self._hot("AND ts BETWEEN :low AND :high ORDER BY ts", low=low, high=high)

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

    def hot_before(self, ts: int, count: int) -> Rows:
        """Up to `count` single rows before `ts`, the last ones."""
        return self._hot("AND ts < :ts ORDER BY ts DESC LIMIT :count", ts=ts, count=count)

    def hot_after(self, ts: int, count: int) -> Rows:
        """Up to `count` single rows after `ts`, the first ones."""
        return self._hot("AND ts > :ts ORDER BY ts LIMIT :count", ts=ts, count=count)

    def _hot(self, where: str, **values: int) -> Rows:
        if not self._has_hot:
            return NO_ROWS
        found = self.rows(
            f"SELECT ts, tx_from, data FROM hot WHERE series = :series AND @at {where}", **values
        ).fetchall()
        if not found:
            return NO_ROWS
        if found[0][0] > found[-1][0]:
            found.reverse()
        rows, damaged = unpack_single(self.number or -1, [Stored(*row) for row in found])
        for position in damaged:
            self.report_single(found[position][0])
        if not (rows.ts[1:] > rows.ts[:-1]).all():
            self.report_index("the single rows of the series are not in order of time")
            return NO_ROWS
        return rows

    def report_single(self, ts: int) -> None:
        """One more damage: of a single row, or of the index if no bar opens then."""
        if ts % self.series.timeframe.step != self.series.timeframe.origin % self.series.timeframe.step:
            self.report_index("a single row lies where no bar opens")
            return
        self._report(ts, ts, None, "a single row does not match its checksum", covers=True)

    def _report(self, first: int, last: int, chunk: int | None, why: str, *, covers: bool = False) -> None:
        first, last = max(first, EARLIEST), min(last, LATEST - self.series.timeframe.step)
        span = Span(min(first, last), last + self.series.timeframe.step)
        self.damage.append(Damage(self.series, span, chunk, why, covers=covers))

    def answers(self, span: Span, *, touching: bool = False) -> list[CoverageRecord]:
        """The coverage records that meet the span (or touch it), ordered."""
        reach = 1 if touching else 0
        ends = {"start": span.start - reach, "stop": span.end + reach}
        found = self.rows(self.connection.dialect.records, **ends)
        answers = []
        for *row, is_sound in found:
            if not is_sound:
                self.report_index("an answer does not match its checksum")
                continue
            if row[0] >= span.end + reach:
                break
            answers.append(CoverageRecord(*row))
        found.close()
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
