"""How rows and answers of one commit are found and put together."""

from __future__ import annotations

import bisect
import sqlite3
from collections.abc import Callable, Iterator
from itertools import accumulate, chain
from typing import NamedTuple

import numpy as np

from qmtl.foundation.errors import InvalidRequestError, StoreError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array, Span
from qmtl.foundation.times import EARLIEST, LATEST, iso
from qmtl.runtime.io.store import answers as answer_algebra
from qmtl.runtime.io.store import pins
from qmtl.runtime.io.store.base import Answer, Change, Snapshot
from qmtl.runtime.io.store.codec import DamagedError, Packed, unpack, unpack_single
from qmtl.runtime.io.store.facts import decoded
from qmtl.runtime.io.store.parallel import in_parallel
from qmtl.runtime.io.store.rows import NO_ROWS, Rows, allocate, join, overlay, to_frame
from qmtl.runtime.io.store.schema import LIVE

_LATELY = 4
# Chunks that one thread decodes at a time: one alone takes less than to hand it over.
_STRETCH = 8


class Chunk(NamedTuple):
    """What the index says of a chunk; both stamps are those of rows."""

    id: int
    first_ts: int
    last_ts: int
    rows: int
    codec: int
    checksum: bytes


class Found(NamedTuple):
    """The bytes of a chunk, or why they cannot be had, and where its rows go."""

    chunk: Chunk
    blob: bytes | DamagedError
    target: Rows

    def decoded(self) -> bool | DamagedError:
        """Whether it has missing volumes, or what is damaged. Touches nothing but the target."""
        if isinstance(self.blob, DamagedError):
            return self.blob
        try:
            return unpack(Packed(*self.chunk[1:], self.blob), self.target)
        except DamagedError as failure:
            return failure


class Damage(NamedTuple):
    """Rows that cannot be read: a chunk, or a single row (`chunk` is None then)."""

    series: SeriesId
    span: Span
    chunk: int | None
    why: str


class View:
    """One series at one commit, on a connection with an open transaction.

    Damaged parts are left out and listed in `damage`.
    """

    def __init__(self, connection: sqlite3.Connection, series: SeriesId, number: int | None, tx: int) -> None:
        """`number` is the row id of the series; None if the store does not know it. `tx` may be LIVE."""
        self.connection = connection
        self.series = series
        self._number = number
        self._at = "tx_to = :live" if tx == LIVE else "tx_from <= :tx AND tx_to > :tx"
        self._tx = tx
        self._lately: dict[int, Rows] = {}  # a write compares with a chunk, and then makes it anew
        self.damage: list[Damage] = []

    def _rows(self, sql: str, **values: int) -> sqlite3.Cursor:
        values.update(series=self._number or -1, tx=self._tx, live=LIVE)
        return self.connection.execute(sql.replace("@at", self._at), values)

    def chunks(self, low: int, high: int) -> list[Chunk]:
        """Those with rows possibly in `low <= ts <= high`, in order."""
        found = self._rows(
            "SELECT id, first_ts, last_ts, rows, codec, checksum FROM chunk"
            " WHERE series = :series AND @at AND last_ts >= :low ORDER BY last_ts",
            low=low,
        )
        chunks = []
        for row in found:
            # Chunks are disjoint: once one begins behind the range, so do all that follow.
            if row[1] > high:
                break
            chunks.append(Chunk(*row))
        found.close()
        return chunks

    def chunks_before(self, ts: int, count: int) -> list[Chunk]:
        """Up to `count` chunks that end before `ts`, in order."""
        found = self._rows(
            "SELECT id, first_ts, last_ts, rows, codec, checksum FROM chunk"
            " WHERE series = :series AND @at AND last_ts < :ts ORDER BY last_ts DESC LIMIT :count",
            ts=ts,
            count=count,
        )
        return [Chunk(*row) for row in found][::-1]

    def chunks_after(self, ts: int, count: int) -> list[Chunk]:
        """Up to `count` chunks that end after `ts`, in order."""
        found = self._rows(
            "SELECT id, first_ts, last_ts, rows, codec, checksum FROM chunk"
            " WHERE series = :series AND @at AND last_ts > :ts ORDER BY last_ts LIMIT :count",
            ts=ts,
            count=count,
        )
        return [Chunk(*row) for row in found]

    def bytes_of(self, chunk: Chunk) -> bytes | DamagedError:
        """A chunk as it lies in the file, or why it cannot be had."""
        try:
            found = self.connection.execute("SELECT data FROM blob WHERE chunk = ?", (chunk.id,)).fetchone()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as failure:
            # SQLite itself meets damage where it hits the links between the pages of one blob.
            return DamagedError(str(failure))
        return DamagedError("its bytes are gone") if found is None else found[0]

    def report_chunk(self, chunk: Chunk, failure: DamagedError) -> None:
        """One more damage: of what the index says of a chunk, and of what its own bytes say."""
        first, last = failure.bounds or (chunk.first_ts, chunk.last_ts)
        self._report(min(first, chunk.first_ts), max(last, chunk.last_ts), chunk.id, str(failure))

    def load(self, chunk: Chunk) -> Rows:
        """The rows of a chunk; none (and one more damage) if it is damaged. The last few are kept."""
        rows = self._lately.get(chunk.id)
        if rows is None:
            rows = allocate(chunk.rows)
            outcome = Found(chunk, self.bytes_of(chunk), rows).decoded()
            if isinstance(outcome, DamagedError):
                self.report_chunk(chunk, outcome)
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
        found = self._rows(
            "SELECT count(*) FROM hot WHERE series = :series AND @at AND ts BETWEEN :low AND :high AND over",
            low=low,
            high=high,
        )
        return int(found.fetchone()[0])

    def hot_stamps(self) -> Int64Array:
        """The stamps of all single rows, ascending."""
        found = self._rows("SELECT ts FROM hot WHERE series = :series AND @at ORDER BY ts").fetchall()
        return np.array([ts for (ts,) in found], dtype=np.int64)

    def hot_before(self, ts: int, count: int) -> Rows:
        """Up to `count` single rows before `ts`, the last ones."""
        return self._hot("AND ts < :ts ORDER BY ts DESC LIMIT :count", ts=ts, count=count)

    def hot_after(self, ts: int, count: int) -> Rows:
        """Up to `count` single rows after `ts`, the first ones."""
        return self._hot("AND ts > :ts ORDER BY ts LIMIT :count", ts=ts, count=count)

    def _hot(self, where: str, **values: int) -> Rows:
        found = self._rows(
            f"SELECT ts, data FROM hot WHERE series = :series AND @at {where}", **values
        ).fetchall()
        if not found:
            return NO_ROWS
        if found[0][0] > found[-1][0]:
            found.reverse()
        rows, damaged = unpack_single([data for _, data in found])
        for position in damaged:
            ts = found[position][0]
            self._report(ts, ts, None, "a single row does not match its checksum")
        return rows

    def _report(self, first: int, last: int, chunk: int | None, why: str) -> None:
        span = Span(first, last + self.series.timeframe.step)
        self.damage.append(Damage(self.series, span, chunk, why))

    def answers(self, span: Span, *, touching: bool = False) -> list[Answer]:
        """What was said that meets the span (or touches it), ordered."""
        reach = 1 if touching else 0
        found = self._rows(
            'SELECT start, "end", said, source, checked_at, expires_at FROM answer'
            ' WHERE series = :series AND @at AND "end" > :start ORDER BY "end"',
            start=span.start - reach,
        )
        answers = []
        for row in found:
            if row[0] >= span.end + reach:
                break
            answers.append(Answer(*row))
        found.close()
        return answers

    def facts(self) -> SeriesFacts | None:
        """What is declared."""
        found = self._rows("SELECT facts FROM facts WHERE series = :series AND @at").fetchone()
        return None if found is None else decoded(found[0])

    def lost(self) -> Coverage:
        """Ranges that damage has taken from this commit."""
        if self._tx == LIVE:
            return Coverage()
        return Coverage(self._rows('SELECT start, "end" FROM lost WHERE series = :series AND @at'))


def series_number(connection: sqlite3.Connection, series: SeriesId) -> int | None:
    """The row id of a series, or None."""
    found = connection.execute("SELECT id FROM series WHERE node = ?", (series.text,)).fetchone()
    return None if found is None else int(found[0])


def enter_series(connection: sqlite3.Connection, series: SeriesId) -> int:
    """The row id of a series, entered if it is new."""
    number = series_number(connection, series)
    if number is None:
        added = connection.execute("INSERT INTO series (node) VALUES (?)", (series.text,))
        number = added.lastrowid
        assert number is not None
    return number


def last_commit(connection: sqlite3.Connection) -> tuple[int, int]:
    """Number and time of the newest commit; (0, 0) if there is none."""
    found = connection.execute("SELECT id, committed_at FROM tx ORDER BY id DESC LIMIT 1").fetchone()
    return (0, 0) if found is None else (int(found[0]), int(found[1]))


def refuse_future(connection: sqlite3.Connection, series: SeriesId | None, as_of: int, now: int) -> None:
    """Raise `InvalidRequestError` for a time beyond `now`, unless something was committed then or later.

    Commit times strictly increase, so that a burst of commits, or a clock that steps back, puts them ahead.
    """
    if as_of <= max(now, last_commit(connection)[1]):
        return
    raise InvalidRequestError(
        f"as_of {iso(as_of)} lies in the future",
        series=series,
        why=f"it is {iso(now)} now, and what will be stored by then is not known",
        next_step="leave out `as_of=` to read the newest state",
    )


def commit_at(connection: sqlite3.Connection, as_of: int) -> tuple[int, int]:
    """Number and time of the newest commit at `as_of`. Raises `StoreError` before the horizon."""
    (horizon,) = connection.execute("SELECT value FROM setting WHERE name = 'horizon'").fetchone()
    if as_of < horizon:
        if (pinned := pins.at(connection, as_of)) is not None:
            return pinned
        raise StoreError(
            f"the store no longer knows what it held at {iso(as_of)}",
            why=f"older versions were swept up to the retention horizon {iso(horizon)}",
            next_step="ask as of that time or later, or exactly as of a pin (`qmtl store pins`); a longer "
            "retention keeps more from now on",
        )

    def time_of(tx: int) -> int:
        return int(connection.execute("SELECT committed_at FROM tx WHERE id = ?", (tx,)).fetchone()[0])

    (first,) = connection.execute("SELECT min(id) FROM tx").fetchone()
    if first is None:
        return (0, 0)
    last, _ = last_commit(connection)
    newest = bisect.bisect_right(range(first, last + 1), as_of, key=time_of) + first - 1
    return (0, 0) if newest < first else (newest, time_of(newest))


def read(
    connection: sqlite3.Connection,
    series: SeriesId,
    span: Span,
    as_of: int | None,
    context: int,
    check: Callable[[], None] | None,
) -> tuple[Snapshot, list[Damage]]:
    """A snapshot, and the damage met on the way, whose rows and answers it leaves out.

    Leaves its transaction open, for the owner of the connection to roll back.
    """
    connection.execute("BEGIN")
    tx, at = last_commit(connection) if as_of is None else commit_at(connection, as_of)
    view = View(connection, series, series_number(connection, series), LIVE if as_of is None else tx)
    rows, volume_nulls = assemble(view, span, context, check)
    first, last = np.searchsorted(rows.ts, [span.start, span.end]).tolist()
    low, high = max(0, first - context), min(rows.size, last + context)
    gone = Coverage(damage.span for damage in view.damage) | view.lost()
    around = rows.cut(low, high)
    said = answer_algebra.without(view.answers(_hull(around, view.series, span)), gone)
    facts = view.facts()
    frame = to_frame(around, volume_nulls=volume_nulls)
    answers = [a for a in said if a.start < span.end and a.end > span.start]
    behind = EMPTY
    if rows.size - last < context and rows.size and not gone:
        behind = _answered_behind(view, int(rows.ts[-1]), span)
    snapshot = Snapshot(span, tx, at, frame, first - low, last - first, answers, facts, behind, said)
    return snapshot, view.damage


def _hull(rows: Rows, series: SeriesId, span: Span) -> Span:
    """The span, and the bars of all rows around it."""
    if not rows.size:
        return span
    final = int(rows.ts[-1]) + series.timeframe.step
    return Span(min(span.start, int(rows.ts[0])), max(span.end, final))


def _answered_behind(view: View, last: int, span: Span) -> Coverage:
    """What was answered after the open of the last row; nothing if the span ends with its bar."""
    if last + view.series.timeframe.step >= span.end:
        return EMPTY
    answers = view.answers(Span(last + 1, LATEST))
    return Coverage((max(a.start, last + 1), a.end) for a in answers if a.said == "answered")


def assemble(
    view: View, span: Span, context: int, check: Callable[[], None] | None
) -> tuple[Rows, bool | None]:
    """At least the rows of the span and `context` rows around; whether volumes are missing, if known."""
    low, high = span.start, span.end - 1
    chunks = view.chunks(low, high)
    volume_nulls: bool | None
    rows, volume_nulls = load_all(view, chunks, check)
    hot = view.hot(low, high)
    if context:
        # The last `context` rows of the union are among the last of each part.
        before: list[Rows] = []
        lack = context - int(np.searchsorted(rows.ts, span.start))
        edge = chunks[0].last_ts if chunks else span.start
        while lack > 0 and (found := view.chunks_before(edge, 1)):
            before.insert(0, view.load(found[0]))
            edge = found[0].last_ts
            lack -= before[0].size
        after: list[Rows] = []
        lack = context - (rows.size - int(np.searchsorted(rows.ts, span.end)))
        edge = chunks[-1].last_ts if chunks else high
        while lack > 0 and (found := view.chunks_after(edge, 1)):
            after.append(view.load(found[0]))
            edge = found[0].last_ts
            lack -= after[-1].size
        hot = join([view.hot_before(low, context), hot, view.hot_after(high, context)])
        if before or after:
            rows, volume_nulls = join([*before, rows, *after]), None
    if hot.size:
        return overlay(rows, hot), None
    return rows, volume_nulls


def load_all(view: View, chunks: list[Chunk], check: Callable[[], None] | None = None) -> tuple[Rows, bool]:
    """The rows of chunks that follow one another, decoded in place; whether volumes are missing.

    `check` is called before each chunk.
    """
    rows = allocate(sum(chunk.rows for chunk in chunks))
    ends = accumulate(chunk.rows for chunk in chunks)
    targets = [rows.cut(end - chunk.rows, end) for chunk, end in zip(chunks, ends, strict=True)]

    def stretches() -> Iterator[list[Found]]:
        for first in range(0, len(chunks), _STRETCH):
            stretch = []
            for chunk, target in zip(chunks[first : first + _STRETCH], targets[first:], strict=False):
                if check is not None:
                    check()
                stretch.append(Found(chunk, view.bytes_of(chunk), target))
            yield stretch

    volume_nulls = False
    whole = []
    outcomes = chain.from_iterable(in_parallel(_decoded, stretches()))
    for chunk, target, outcome in zip(chunks, targets, outcomes, strict=True):
        if isinstance(outcome, DamagedError):
            view.report_chunk(chunk, outcome)
        else:
            whole.append(target)
            volume_nulls |= outcome
    return (rows if len(whole) == len(chunks) else join(whole)), volume_nulls


def _decoded(stretch: list[Found]) -> list[bool | DamagedError]:
    return [found.decoded() for found in stretch]


def changes(connection: sqlite3.Connection, since: int) -> list[Change]:
    """What commits after `since` touched. Where the list no longer reaches back, whole series are named."""
    rows = connection.execute(
        'SELECT tx.id, node, start, "end" FROM tx JOIN series ON series.id = tx.series'
        " WHERE tx.id > ? AND kind <> 'compact' ORDER BY tx.id",
        (since,),
    ).fetchall()
    found = [Change(tx, SeriesId.parse(node), Span(start, end)) for tx, node, start, end in rows]
    (first,) = connection.execute("SELECT min(id) FROM tx").fetchone()
    if first is None or since >= first - 1:
        return found
    nodes = connection.execute("SELECT node FROM series ORDER BY id").fetchall()
    return [Change(first - 1, SeriesId.parse(node), Span(EARLIEST, LATEST)) for (node,) in nodes] + found
