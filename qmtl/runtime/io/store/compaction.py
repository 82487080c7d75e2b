"""Tidying up: hot rows and small chunks become full ones, and versions behind the horizon go."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qmtl.foundation.errors import StoreError
from qmtl.runtime.io.store.codec import checksum_of
from qmtl.runtime.io.store.pins import HELD
from qmtl.runtime.io.store.reader import View, commit_at
from qmtl.runtime.io.store.rows import ROW_BYTES
from qmtl.runtime.io.store.schema import DATABASE, LIVE, PAGE_BYTES
from qmtl.runtime.io.store.windows import FULL, Window, loose, windows

# One commit of a compaction makes at most so many chunks anew, and one of a sweep deletes at most so many.
BATCH = 64
# So many unused pages are given back to the file system before others get their turn.
PAGES_AT_ONCE = 2_048


@dataclass(frozen=True)
class Compaction:
    """What `compact` has done.

    windows: stretches of chunks made anew. hot_folded: single rows that went into chunks. swept: versions
    behind the retention horizon that were deleted. bytes_before, bytes_after: size of the directory.
    """

    windows: int
    hot_folded: int
    swept: int
    bytes_before: int
    bytes_after: int


def work(view: View) -> list[Window]:
    """The windows of a series that are worth making anew."""
    chunks = view.chunks(-LIVE, LIVE - 1)
    stamps = np.union1d(view.hot_stamps(), loose(chunks))
    return [part for window in windows(chunks, stamps) for part in _split(window)]


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


def no_room(folder: Path, work: list[Window]) -> StoreError:
    """The error of a compaction on a full disk, with what it needs."""
    rows = max((sum(chunk.rows for chunk in window.chunks) + FULL for window in work), default=FULL)
    # New chunks lie in the log first, and then in the file too; so do pages that are moved to shorten it.
    needed = 2 * max(rows * ROW_BYTES, PAGES_AT_ONCE * PAGE_BYTES)
    free = shutil.disk_usage(folder).free
    return StoreError(
        "there is no room left to compact the store",
        path=folder,
        why=f"it needs up to {needed:,} bytes beside {DATABASE} while it works, and {free:,} bytes are free",
        next_step="free so much and repeat; what was compacted stays, and nothing is lost",
    )


def sweep_horizon(connection: sqlite3.Connection, now: int, retention: int) -> int | None:
    """Move the horizon on; the commit that it lies at, or None if there is nothing behind it."""
    (horizon,) = connection.execute("SELECT value FROM setting WHERE name = 'horizon'").fetchone()
    tx, at = commit_at(connection, max(now - retention, horizon))
    if not tx:
        return None
    connection.execute("UPDATE setting SET value = ? WHERE name = 'horizon'", (at,))
    return tx


class Old(NamedTuple):
    """A chunk that nothing shows any more, and whether its bytes are as written."""

    chunk: int
    is_whole: bool


def old_chunks(connection: sqlite3.Connection, tx: int) -> list[Old]:
    """Some chunks that no read from `tx` on, and no pin, can see.

    Looked at by a connection that only reads: within a transaction, SQLite writes no more after damage.
    """
    connection.execute("BEGIN")
    found = connection.execute(
        f"SELECT id, checksum FROM chunk WHERE tx_to <= ? AND NOT {HELD} LIMIT ?", (tx, BATCH)
    ).fetchall()
    return [Old(chunk, _is_whole(connection, chunk, checksum)) for chunk, checksum in found]


def _is_whole(connection: sqlite3.Connection, chunk: int, checksum: bytes) -> bool:
    """Whether the bytes of a chunk are as written, and with them the links between its pages."""
    try:
        found = connection.execute("SELECT data FROM blob WHERE chunk = ?", (chunk,)).fetchone()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        return False
    return found is not None and isinstance(found[0], bytes) and checksum_of(found[0]) == checksum


def sweep_some(connection: sqlite3.Connection, tx: int, chunks: list[Old]) -> int:
    """Delete `chunks`, or else other versions that no read from `tx` on, and no pin, can see; how many.

    The bytes of damaged chunks stay where they are: to follow damaged links would give pages away that hold
    something else.
    """
    for chunk, is_whole in chunks:
        free = connection.execute(f"SELECT 1 FROM chunk WHERE id = ? AND NOT {HELD}", (chunk,)).fetchone()
        if free is None:
            continue  # pinned meanwhile
        if is_whole:
            _free(connection, chunk)
        connection.execute("DELETE FROM chunk WHERE id = ?", (chunk,))
    if chunks:
        return len(chunks)
    swept = 0
    for (number,) in connection.execute("SELECT id FROM series").fetchall():
        for table in ("hot", "answer", "facts", "lost"):
            swept += connection.execute(
                f"DELETE FROM {table} WHERE series = ? AND tx_to <= ? AND NOT {HELD}", (number, tx)
            ).rowcount
    connection.execute("DELETE FROM tx WHERE id < ?", (tx,))
    return swept


def _free(connection: sqlite3.Connection, chunk: int) -> None:
    """Give the pages of a chunk back; where damaged ones beside it stand in the way, they stay."""
    connection.execute("SAVEPOINT one_blob")
    try:
        connection.execute("DELETE FROM blob WHERE chunk = ?", (chunk,))
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        connection.execute("ROLLBACK TO one_blob")
    connection.execute("RELEASE one_blob")
