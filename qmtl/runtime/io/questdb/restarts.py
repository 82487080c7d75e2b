"""After a start of the server: whether the rows that were written last are still there.

QuestDB waits for no disk, unless it was told to. Killed, it loses nothing, for what it has written is with
the operating system; a loss of power takes what was not on the disk yet. That may be more than the rows of
the newest commits: where a row falls between others, QuestDB writes its partition anew.
"""

from __future__ import annotations

import re
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import EARLIEST, LATEST, MINUTE
from qmtl.runtime.io.questdb.server import QuestDBServer
from qmtl.runtime.io.sql.catalogs import moved_after
from qmtl.runtime.io.sql.chunks import Chunk
from qmtl.runtime.io.sql.commits import series_named
from qmtl.runtime.io.sql.dialect import LIVE, Connection
from qmtl.runtime.io.sql.view import View, bytes_of_each, packed
from qmtl.runtime.io.store.damage import Damage

# What was written so long before something else is on the disk. Linux waits for half a minute; some laptops
# for ten.
_ON_DISK_NS = 15 * MINUTE
# Chunks whose rows are in memory together.
_AT_ONCE = 64


class Start(NamedTuple):
    """A start of the server. at: when it was (us), by its own clock; no two have the same."""

    at: int
    version: str


def start_of(server: QuestDBServer) -> Start:
    """The last one. Raises `StoreError` where nobody answers."""
    ((at, build),) = server.query("SELECT pg_postmaster_start_time()::long, build()")
    named = re.search(r"QuestDB (\S+?),", build)
    return Start(int(at), named[1] if named else str(build))


def damage_in_newest(connection: Connection) -> list[Damage]:
    """Read what a loss of power may have taken, of all versions, against its checksums; what it did take."""
    found: list[Damage] = []
    names = dict(connection.execute("SELECT id, node FROM series").fetchall())
    for number, entries in groupby(_at_risk(connection), key=itemgetter(0)):
        series = series_named(names[number])
        view = View(connection, series, number, LIVE)
        chunks = [(series, Chunk(*entry)) for _, *entry in entries]
        for first in range(0, len(chunks), _AT_ONCE):
            some = chunks[first : first + _AT_ONCE]
            for (_, chunk), blob in zip(some, bytes_of_each(connection, some), strict=True):
                view.unpacked(chunk, packed(chunk, blob))
        found += view.damage
    return found


def _at_risk(connection: Connection) -> list[tuple[Any, ...]]:
    """Chunks in partitions that were written to shortly before the last rows were, by series and time."""
    found = {
        row[1]: row
        for span in _months_at_risk(connection)
        for row in connection.execute(
            "SELECT series, id, first_ts, last_ts, rows, codec, checksum FROM chunk"
            f" WHERE last_ts >= ? AND first_ts < ? AND {connection.dialect.sound['chunk']}",
            tuple(span),
        )
    }
    return sorted(found.values(), key=itemgetter(0, 2))


def _months_at_risk(connection: Connection) -> Coverage:
    """All, where a compaction has put all rows into a new table shortly before the last ones were written."""
    made = "FROM tx WHERE id IN (SELECT tx_from FROM chunk)"
    (last,) = connection.execute(f"SELECT max(committed_at) {made}").fetchone()
    if last is None:
        return EMPTY
    (since,) = connection.execute(
        f"SELECT min(committed_at) {made} AND id > ?", (moved_after(connection),)
    ).fetchone()
    if since is None or last - since < _ON_DISK_NS:
        return Coverage.of(Span(EARLIEST, LATEST))
    lately = connection.execute(
        "SELECT first_ts, last_ts FROM chunk WHERE tx_from IN (SELECT id FROM tx WHERE committed_at > ?)",
        (last - _ON_DISK_NS,),
    )
    return Coverage(_months(first, end) for first, end in lately)


def _months(first: int, last: int) -> Span:
    """The months, by which QuestDB parts a table, from one stamp to another."""
    low, high = np.array([first, last], dtype="datetime64[ns]").astype("datetime64[M]")
    return Span(_ns(low), _ns(high + 1))


def _ns(month: np.datetime64) -> int:
    return int(month.astype("datetime64[ns]").astype(np.int64))
