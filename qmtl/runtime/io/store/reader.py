"""How rows and answers of one commit are found and put together."""

from __future__ import annotations

import bisect
import sqlite3
from collections.abc import Callable, Iterator
from itertools import accumulate, chain
from typing import Any, NamedTuple

import numpy as np

from qmtl.foundation.errors import InvalidRequestError, StoreCorruptError, StoreError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array, Span
from qmtl.foundation.times import EARLIEST, LATEST, iso
from qmtl.runtime.io.store import answers as answer_algebra
from qmtl.runtime.io.store import pins
from qmtl.runtime.io.store.base import Answer, Change, Snapshot
from qmtl.runtime.io.store.codec import (
    DamagedError,
    Packed,
    Stored,
    checksum_of,
    header_of,
    unpack,
    unpack_single,
)
from qmtl.runtime.io.store.damage import Damage, nearest_context
from qmtl.runtime.io.store.facts import decoded
from qmtl.runtime.io.store.parallel import in_parallel
from qmtl.runtime.io.store.rows import NO_ROWS, Rows, allocate, join, overlay, to_frame
from qmtl.runtime.io.store.schema import COUNTS, LIVE, PROOF, SOUND

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


class View:
    """One series at one commit, on a connection with an open transaction.

    Damaged parts are left out and listed in `damage`.
    """

    def __init__(self, connection: sqlite3.Connection, series: SeriesId, number: int | None, tx: int) -> None:
        """`number` is the row id of the series; None if the store does not know it. `tx` may be LIVE."""
        self.connection = connection
        self.series = series
        self.number = number
        self._at = "tx_to = :live" if tx == LIVE else "tx_from <= :tx AND tx_to > :tx"
        self._tx = tx
        self._lately: dict[int, Rows] = {}  # a write compares with a chunk, and then makes it anew
        self.damage: list[Damage] = []

    def _rows(self, sql: str, **values: int) -> sqlite3.Cursor:
        values.update(series=self.number or -1, tx=self._tx, live=LIVE)
        return self.connection.execute(sql.replace("@at", self._at), values)

    def chunks(self, low: int, high: int) -> list[Chunk]:
        """Those with rows possibly in `low <= ts <= high`, in order."""
        found = self._rows(f"{_ENTRY} AND last_ts >= :low ORDER BY last_ts", low=low)
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
        found = self._rows(
            f"{_ENTRY} AND last_ts < :ts ORDER BY last_ts DESC LIMIT :count", ts=ts, count=count
        )
        return self._sound(found)[::-1]

    def chunks_after(self, ts: int, count: int) -> list[Chunk]:
        """Up to `count` chunks that end after `ts`, in order."""
        found = self._rows(f"{_ENTRY} AND last_ts > :ts ORDER BY last_ts LIMIT :count", ts=ts, count=count)
        return self._sound(found)

    def _sound(self, found: sqlite3.Cursor) -> list[Chunk]:
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
            found = self.connection.execute("SELECT data FROM blob WHERE chunk = ?", (chunk.id,)).fetchone()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as failure:
            # SQLite itself meets damage where it hits the links between the pages of one blob.
            return DamagedError(str(failure))
        if found is None:
            return DamagedError("its bytes are gone")
        return found[0] if isinstance(found[0], bytes) else DamagedError("its bytes are of another kind")

    def report_chunk(self, chunk: Chunk, failure: DamagedError) -> None:
        """One more damage: of what the index says of a chunk, and of what its own bytes say."""
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
            told = ", ".join(
                f"{n} of {c} {w}" for n, c, w in zip(found, counted, names, strict=True) if n != c
            )
            self.report_index(f"the index of the series has {told}")

    def report_index(self, why: str) -> None:
        """One more damage: of the index of the series, so that nobody can say which bars it has hidden."""
        if not any(damage.of_index for damage in self.damage):
            self.damage.append(Damage(self.series, self.extent(), None, why, of_index=True))

    def extent(self) -> Span:
        """From the first to the last instant that the series has rows or answers for, as far as is seen."""
        step = self.series.timeframe.step
        found = self._rows(
            'SELECT min(low), max(high) FROM (SELECT min(start) AS low, max("end") AS high FROM answer'
            " WHERE series = :series AND @at UNION ALL SELECT min(first_ts), max(last_ts) + :step FROM chunk"
            " WHERE series = :series AND @at UNION ALL SELECT min(ts), max(ts) + :step FROM hot"
            " WHERE series = :series AND @at)",
            step=step,
        ).fetchone()
        sane = all(isinstance(edge, int) and EARLIEST <= edge <= LATEST for edge in found)
        return Span(*found) if sane and found[0] <= found[1] else Span(EARLIEST, LATEST)

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
        self._report(ts, ts, None, "a single row does not match its checksum")

    def _report(self, first: int, last: int, chunk: int | None, why: str) -> None:
        first, last = max(first, EARLIEST), min(last, LATEST - self.series.timeframe.step)
        span = Span(min(first, last), last + self.series.timeframe.step)
        self.damage.append(Damage(self.series, span, chunk, why))

    def answers(self, span: Span, *, touching: bool = False) -> list[Answer]:
        """What was said that meets the span (or touches it), ordered."""
        reach = 1 if touching else 0
        found = self._rows(
            f'SELECT start, "end", said, source, checked_at, expires_at, {SOUND["answer"]} FROM answer'
            ' WHERE series = :series AND @at AND "end" > :start ORDER BY "end"',
            start=span.start - reach,
        )
        answers = []
        for *row, is_sound in found:
            if not is_sound:
                self.report_index("an answer does not match its checksum")
                continue
            if row[0] >= span.end + reach:
                break
            answers.append(Answer(*row))
        found.close()
        return answers

    def facts(self) -> SeriesFacts | None:
        """What is declared."""
        found = self._rows(
            f"SELECT facts, {SOUND['facts']} FROM facts WHERE series = :series AND @at"
        ).fetchone()
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
        return Coverage(self._rows('SELECT start, "end" FROM lost WHERE series = :series AND @at'))


_ENTRY = (
    f"SELECT id, first_ts, last_ts, rows, codec, checksum, {SOUND['chunk']} FROM chunk"
    " WHERE series = :series AND @at"
)


def series_number(connection: sqlite3.Connection, series: SeriesId) -> int | None:
    """The row id of a series, or None. Raises `StoreCorruptError` where damage may have hidden it."""
    found = connection.execute(
        f"SELECT id, {SOUND['series']} FROM series WHERE node = ?", (series.text,)
    ).fetchone()
    if found is not None and found[1]:
        return int(found[0])
    if found is None:
        # Names are never taken away, so that a hole in their numbers is one that was.
        count, last, unsound, hidden = connection.execute(
            f"SELECT count(*), coalesce(max(id), 0), coalesce(sum(NOT ({SOUND['series']})), 0),"
            " coalesce(sum(node = ?), 0) FROM series NOT INDEXED",
            (series.text,),
        ).fetchone()
        if count == last and not unsound and not hidden:
            return None
    raise StoreCorruptError(
        "the list of series is damaged",
        series=series,
        next_step="run `qmtl store verify`; bring the store back from a backup (`qmtl store restore`)",
    )


def enter_series(connection: sqlite3.Connection, series: SeriesId) -> int:
    """The row id of a series, entered if it is new."""
    number = series_number(connection, series)
    if number is None:
        added = connection.execute("INSERT INTO series (node) VALUES (?)", (series.text,))
        number = added.lastrowid
        assert number is not None
        connection.execute(f"UPDATE series SET crc = {PROOF['series']} WHERE id = ?", (number,))
    return number


def last_commit(connection: sqlite3.Connection) -> tuple[int, int]:
    """Number and time of the newest commit; (0, 0) if there is none."""
    found = connection.execute(
        f"SELECT id, committed_at, {SOUND['tx']} FROM tx ORDER BY id DESC LIMIT 1"
    ).fetchone()
    if found is not None and not found[2]:
        raise _damaged_commits()
    return (0, 0) if found is None else (int(found[0]), int(found[1]))


def _damaged_commits() -> StoreCorruptError:
    return StoreCorruptError(
        "the list of commits is damaged",
        next_step="run `qmtl store verify`; bring the store back from a backup (`qmtl store restore`)",
    )


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
        found = connection.execute(
            f"SELECT committed_at, {SOUND['tx']} FROM tx WHERE id = ?", (tx,)
        ).fetchone()
        if found is None or not found[1]:
            raise _damaged_commits()
        return int(found[0])

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
    *,
    is_first: bool = False,
) -> tuple[Snapshot, list[Damage]]:
    """A snapshot, and the damage met on the way, whose rows and answers it leaves out.

    is_first: whether the index of the series is to be looked through for what damage has hidden. Leaves its
    transaction open, for the owner of the connection to roll back.
    """
    connection.execute("BEGIN")
    tx, at = last_commit(connection) if as_of is None else commit_at(connection, as_of)
    view = View(connection, series, series_number(connection, series), LIVE if as_of is None else tx)
    if is_first:
        # What is counted is what there is now; what it lacks may have been there at any commit.
        live = View(connection, series, view.number, LIVE)
        live.look_for_gaps()
        view.damage += live.damage
    rows, volume_nulls = assemble(view, span, context, check)
    first, last = np.searchsorted(rows.ts, [span.start, span.end]).tolist()
    low, high = max(0, first - context), min(rows.size, last + context)
    said = view.answers(_hull(rows.cut(low, high), series, span))
    gone = Coverage(damage.span for damage in view.damage) | view.lost()
    damaged = behind = EMPTY
    if gone:
        low, high = nearest_context(rows.ts, low, high, span, gone)
        ts = rows.ts[first:last]
        damaged = gone.clip(span) - Coverage.from_arrays(ts, ts + series.timeframe.step)
    elif rows.size - last < context and rows.size:
        behind = _answered_behind(view, int(rows.ts[-1]), span)
    said = answer_algebra.without(said, gone)
    answers = [a for a in said if a.start < span.end and a.end > span.start]
    facts = view.facts()
    frame = to_frame(rows.cut(low, high), volume_nulls=volume_nulls)
    snapshot = Snapshot(
        span, tx, at, frame, first - low, last - first, answers, facts, behind, said, damaged=damaged
    )
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
