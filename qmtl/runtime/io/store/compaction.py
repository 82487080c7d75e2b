"""Tidying up: hot rows and small chunks become full ones, and versions behind the horizon go."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import numpy as np

from qmtl.runtime.io.store.pins import HELD
from qmtl.runtime.io.store.reader import View, commit_at
from qmtl.runtime.io.store.schema import LIVE
from qmtl.runtime.io.store.windows import Window, loose, windows

# One commit of a compaction makes at most so many chunks anew, and one of a sweep deletes at most so many.
BATCH = 64


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


def sweep_horizon(connection: sqlite3.Connection, now: int, retention: int) -> int | None:
    """Move the horizon on; the commit that it lies at, or None if there is nothing behind it."""
    (horizon,) = connection.execute("SELECT value FROM setting WHERE name = 'horizon'").fetchone()
    tx, at = commit_at(connection, max(now - retention, horizon))
    if not tx:
        return None
    connection.execute("UPDATE setting SET value = ? WHERE name = 'horizon'", (at,))
    return tx


def sweep_some(connection: sqlite3.Connection, tx: int) -> int:
    """Delete some versions that no read from `tx` on, and no pin, can see; how many, 0 when none is left."""
    swept = 0
    for (chunk,) in connection.execute(
        f"SELECT id FROM chunk WHERE tx_to <= ? AND NOT {HELD} LIMIT ?", (tx, BATCH)
    ).fetchall():
        connection.execute("SAVEPOINT one_blob")
        try:
            connection.execute("DELETE FROM blob WHERE chunk = ?", (chunk,))
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            # The links between its pages are damaged: its pages are lost, but it can be forgotten.
            connection.execute("ROLLBACK TO one_blob")
        connection.execute("RELEASE one_blob")
        connection.execute("DELETE FROM chunk WHERE id = ?", (chunk,))
        swept += 1
    if not swept:
        for (number,) in connection.execute("SELECT id FROM series").fetchall():
            for table in ("hot", "answer", "facts", "lost"):
                swept += connection.execute(
                    f"DELETE FROM {table} WHERE series = ? AND tx_to <= ? AND NOT {HELD}", (number, tx)
                ).rowcount
        connection.execute("DELETE FROM tx WHERE id < ?", (tx,))
    return swept
