"""Every stored byte against its checksum, and every promise of the index against the bytes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.store.codec import unpack_single
from qmtl.runtime.io.store.reader import Chunk, Damage, View
from qmtl.runtime.io.store.schema import LIVE

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Verification:
    """What `verify` has read, and what it found.

    chunks, hot_rows: how many were read, of all versions. damage: rows that cannot be read, oldest chunk
    first. problems: sentences on the file as a whole. repaired: whether the damage was recorded, so that its
    ranges are unknown now.
    """

    chunks: int
    hot_rows: int
    damage: tuple[Damage, ...]
    problems: tuple[str, ...]
    repaired: bool = False

    @property
    def is_sound(self) -> bool:
        return not self.damage and not self.problems


_FETCH = 256


def verify(connection: sqlite3.Connection, progress: Progress | None) -> Verification:
    """Read everything as of one moment. `progress(done, total)` counts chunks."""
    connection.execute("BEGIN")
    problems = [
        f"SQLite says: {text}"
        for (text,) in connection.execute("PRAGMA quick_check(20)").fetchall()
        if text != "ok"
    ]
    problems += _overlaps(connection)
    damage: list[Damage] = []
    views = {
        number: View(connection, SeriesId.parse(node), number, LIVE)
        for number, node in connection.execute("SELECT id, node FROM series").fetchall()
    }
    (total,) = connection.execute("SELECT count(*) FROM chunk").fetchone()
    done, last = 0, 0
    while batch := connection.execute(
        "SELECT id, first_ts, last_ts, rows, codec, checksum, series FROM chunk"
        " WHERE id > ? ORDER BY id LIMIT ?",
        (last, _FETCH),
    ).fetchall():
        for row in batch:
            view, chunk = views[row[-1]], Chunk(*row[:-1])
            stamps = view.load(chunk).ts
            if len(stamps) and not (np.diff(stamps) > 0).all():
                problems.append(f"chunk {chunk.id} of {view.series} is not in order of time")
            damage += view.damage
            view.damage.clear()
            done, last = done + 1, chunk.id
            if progress is not None:
                progress(done, total)
    hot_rows = 0
    for number, view in views.items():
        found = connection.execute("SELECT ts, data FROM hot WHERE series = ? ORDER BY ts", (number,))
        while rows := found.fetchmany(_FETCH):
            hot_rows += len(rows)
            for position in unpack_single([data for _, data in rows])[1]:
                ts = rows[position][0]
                span = Span(ts, ts + view.series.timeframe.step)
                damage.append(Damage(view.series, span, None, "a single row does not match its checksum"))
    return Verification(done, hot_rows, tuple(damage), tuple(problems))


def _overlaps(connection: sqlite3.Connection) -> list[str]:
    """Current chunks and answers of one series must not overlap."""
    found = []
    for what, sql in (
        (
            "chunks",
            "SELECT series, first_ts, lag(last_ts) OVER (PARTITION BY series ORDER BY last_ts) AS before"
            " FROM chunk WHERE tx_to = ?",
        ),
        (
            "answers",
            'SELECT series, start, lag("end") OVER (PARTITION BY series ORDER BY "end") - 1 AS before'
            " FROM answer WHERE tx_to = ?",
        ),
    ):
        starts = "first_ts" if what == "chunks" else "start"
        (count,) = connection.execute(
            f"SELECT count(*) FROM ({sql}) WHERE before >= {starts}", (LIVE,)
        ).fetchone()
        if count:
            found.append(f"{count} {what} overlap another of their series")
    return found
