"""Tidying up: hot rows and small chunks become full ones, and versions behind the horizon go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import StoreCorruptError, StoreError
from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.sql.codec import checksum_of
from qmtl.runtime.io.sql.commits import horizon_of, newest, newest_at, series_named, series_number
from qmtl.runtime.io.sql.database import Database, committing
from qmtl.runtime.io.sql.dialect import LIVE, Connection
from qmtl.runtime.io.sql.pins import PINNED
from qmtl.runtime.io.sql.plans import chunks_under, rewrite, still_holds
from qmtl.runtime.io.sql.repair import record_all
from qmtl.runtime.io.sql.rewrite_plan import FULL, Window, loose, rewrite_plan
from qmtl.runtime.io.sql.transaction import recount
from qmtl.runtime.io.sql.view import BYTES, View
from qmtl.runtime.io.store.rows import NO_ROWS

Progress = Callable[[int, int], None]

# So often a window is made anew while others write beside it.
_TRIES = 3
# One commit of a compaction makes at most so many chunks anew, and one of a sweep deletes at most so many.
BATCH = 64


@dataclass(frozen=True)
class Compaction:
    """What `compact` has done.

    windows: stretches of chunks made anew. hot_folded: single rows that went into chunks. swept: versions
    behind the retention horizon that were deleted. bytes_before, bytes_after: size of the directory. left:
    what was left undone, and why. unnamed: rows in another system that no commit names, which were dropped.
    """

    windows: int
    hot_folded: int
    swept: int
    bytes_before: int
    bytes_after: int
    left: str = ""
    unnamed: int = 0


def compact(database: Database, clock: Clock, retention: int | None, progress: Progress | None) -> Compaction:
    """Fold single rows and small chunks into full ones, and delete what lies behind the retention (ns).

    Others may read and write meanwhile. `progress(done, total)` counts stretches of chunks.
    """
    before = database.size()
    todo = _work(database)
    with database.reading() as connection:
        horizon_of(connection)  # a damaged one is reported also where nothing is swept
    try:
        database.refuse_unwritable()
        folded = 0
        for done, (series, window) in enumerate(todo):
            folded += _renew(database, clock, series, window)
            if progress is not None:
                progress(done + 1, len(todo))
        swept = 0 if retention is None else _sweep(database, clock.now(), retention)
        left = database.shrink()
    except StoreCorruptError:
        raise
    except StoreError as failure:
        if database.is_full(failure.__cause__):
            rows = max(
                (sum(chunk.rows for chunk in window.chunks) + FULL for _, window in todo), default=FULL
            )
            raise database.no_room(rows) from failure
        raise
    return Compaction(len(todo), folded, swept, before, database.size(), left)


def _work(database: Database) -> list[tuple[SeriesId, Window]]:
    with database.reading() as connection:
        names = [
            series_named(node) for (node,) in connection.execute("SELECT node FROM series ORDER BY node")
        ]
    found: list[tuple[SeriesId, Window]] = []
    for series in names:
        with database.reading(series) as connection:
            found += [(series, window) for window in work(_view(connection, series))]
    return found


def _view(connection: Connection, series: SeriesId) -> View:
    return View(connection, series, series_number(connection, series), LIVE)


def _renew(database: Database, clock: Clock, series: SeriesId, window: Window) -> int:
    """Make one window anew; how many single rows went into it. Gives up where others keep writing."""
    for _ in range(_TRIES):
        with database.reading(series) as connection:
            seen = newest(connection).tx
            view = _view(connection, series)
            if view.chunks(window.low, window.high) != list(window.chunks):
                return 0
            folded = view.hot(window.low, window.high).size
            if not folded and len(window.chunks) < 2:
                return 0
            made = rewrite(view, [window], NO_ROWS, seen=seen)
            chunks = chunks_under(view, made)
        if view.damage:
            record_all(database, view.damage, clock)
            return 0
        with committing(database, series, clock.now()) as transaction:
            if still_holds(made, chunks, transaction.view):
                transaction.rows(made)
                transaction.log("compact", made.reach)
                transaction.keep()
                return folded
    return 0


def _sweep(database: Database, now: int, retention: int) -> int:
    with database.writing() as connection:
        tx = sweep_horizon(connection, now, retention)
        connection.execute("COMMIT")
    swept = 0
    while tx is not None:
        with database.reading() as connection:
            old = old_chunks(connection, tx)
        with database.writing() as connection:
            some = sweep_some(connection, tx, old)
            connection.execute("COMMIT")
        swept += some
        if not some:
            break
    return swept


def work(view: View) -> list[Window]:
    """The windows of a series that are worth making anew."""
    chunks = view.chunks(-LIVE, LIVE - 1)
    stamps = np.union1d(view.hot_stamps(), loose(chunks))
    return [part for window in rewrite_plan(chunks, stamps) for part in _split(window)]


def _split(window: Window) -> list[Window]:
    """A window of many chunks as several, each a commit of its own."""
    parts = []
    low = window.low
    for start in range(0, max(len(window.chunks), 1), BATCH):
        chunks = window.chunks[start : start + BATCH]
        high = chunks[-1].last_ts if start + BATCH < len(window.chunks) else window.high
        parts.append(Window(chunks, low, high))
        low = high + 1
    return parts


def sweep_horizon(connection: Connection, now: int, retention: int) -> int | None:
    """Move the horizon on; the commit that it lies at, or None if there is nothing behind it."""
    tx, at = newest_at(connection, max(now - retention, horizon_of(connection)))
    if not tx:
        return None
    connection.execute("UPDATE setting SET value = ? WHERE name = 'horizon'", (at,))
    return tx


class Old(NamedTuple):
    """A chunk that nothing shows any more, and whether its bytes are as written."""

    chunk: int
    is_whole: bool


def old_chunks(connection: Connection, tx: int) -> list[Old]:
    """Some chunks that no read from `tx` on, and no pin, can see.

    Looked at by a connection that only reads: within a transaction, SQLite writes no more after damage.
    """
    found = connection.execute(
        f"SELECT id, checksum FROM chunk WHERE tx_to <= ? AND NOT {PINNED} LIMIT ?", (tx, BATCH)
    ).fetchall()
    return [Old(chunk, _is_whole(connection, chunk, checksum)) for chunk, checksum in found]


def _is_whole(connection: Connection, chunk: int, checksum: bytes) -> bool:
    """Whether the bytes of a chunk are as written, and with them the links between its pages."""
    if connection.elsewhere is not None:
        return True  # it has no bytes here
    try:
        found = connection.survivable(BYTES, (chunk,)).fetchone()
    except Exception as failure:  # of the engine: only its dialect can name those that tell of damage
        if connection.dialect.is_damage(failure):
            return False
        raise
    return found is not None and isinstance(found[0], bytes) and checksum_of(found[0]) == checksum


def sweep_some(connection: Connection, tx: int, chunks: list[Old]) -> int:
    """Delete `chunks`, or else other versions that no read from `tx` on, and no pin, can see; how many.

    The bytes of damaged chunks stay where they are: to follow damaged links would give pages away that hold
    something else.
    """
    shrunk: set[int] = set()
    for chunk, is_whole in chunks:
        free = connection.execute(f"SELECT 1 FROM chunk WHERE id = ? AND NOT {PINNED}", (chunk,)).fetchone()
        if free is None:
            continue  # pinned meanwhile
        if is_whole:
            _free(connection, chunk)
        shrunk.update(
            number
            for (number,) in connection.execute(
                "DELETE FROM chunk WHERE id = ? RETURNING series", (chunk,)
            ).fetchall()
        )
    if chunks:
        for number in sorted(shrunk):
            recount(connection, number)
        return len(chunks)
    swept = 0
    for (number,) in connection.execute("SELECT id FROM series").fetchall():
        for table in ("hot", "answer", "facts", "lost", "delivery"):
            swept += connection.execute(
                f"DELETE FROM {table} WHERE series = ? AND tx_to <= ? AND NOT {PINNED}", (number, tx)
            ).rowcount
        recount(connection, number)
    connection.execute("DELETE FROM tx WHERE id < ?", (tx,))
    return swept


def _free(connection: Connection, chunk: int) -> None:
    """Give the pages of a chunk back; where damaged ones beside it stand in the way, they stay."""
    connection.execute("SAVEPOINT one_blob")
    try:
        connection.execute("DELETE FROM blob WHERE chunk = ?", (chunk,))
    except Exception as failure:  # of the engine: only its dialect can name those that tell of damage
        if not connection.dialect.is_damage(failure):
            raise
        connection.execute("ROLLBACK TO SAVEPOINT one_blob")
    connection.execute("RELEASE SAVEPOINT one_blob")
