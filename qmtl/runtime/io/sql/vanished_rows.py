"""Bars that damage may have taken the newest row from, so that an older one has come to light."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.runtime.io.sql.dialect import LIVE, Connection
from qmtl.runtime.io.sql.single_rows import place_of

# Number, first and last stamp of a chunk.
Extent = tuple[int, int, int]


def covered_bars(connection: Connection, number: int, step: int, chunks: Iterable[Extent]) -> Coverage:
    """The bars of a series that lack their newest row, or may: a search of their time does not find it.

    Rows that only a scan finds say by their bytes which bars they are. If fewer are found than were counted,
    every bar of a chunk that a later commit has written to is in doubt.
    """
    (counted,) = connection.execute("SELECT hot FROM series WHERE id = ?", (number,)).fetchone()
    scanned = dict(_scanned(connection, number))
    searched = connection.execute(
        "SELECT ts FROM hot WHERE series = ? AND tx_to = ? AND ts BETWEEN ? AND ?",
        (number, LIVE, min(scanned, default=0), max(scanned, default=0)),
    )
    reached = {ts for (ts,) in searched.fetchall()}
    bars = Coverage(Span(ts, ts + step) for ts in scanned if ts not in reached)
    is_short = sum(scanned.values()) < counted
    return bars | _written_later(connection, number, step, chunks) if is_short else bars


def _scanned(connection: Connection, number: int) -> Iterator[tuple[int, bool]]:
    """Stamps of single rows of a series, wherever they lie, and whether each is surely a current one."""
    sound, same = connection.dialect.sound["hot"], connection.dialect.same
    found = connection.execute(
        f"SELECT ts, tx_to, data, {sound} FROM hot {connection.dialect.by_scan}"
        f" WHERE (series {same} ? AND tx_to {same} ?) OR NOT ({sound})",
        (number, LIVE),
    )
    for ts, tx_to, data, is_sound in found.fetchall():
        if is_sound:
            yield ts, True
        elif (place := place_of(number, data)) is not None:
            yield place[0], tx_to == LIVE


def _written_later(connection: Connection, number: int, step: int, chunks: Iterable[Extent]) -> Coverage:
    """Where commits have written to chunks after they were made, or may have."""
    sound = connection.dialect.sound["tx"]
    first, unsound = connection.execute(
        f"SELECT min(id), count(CASE WHEN {sound} THEN NULL ELSE 1 END) FROM tx"
    ).fetchone()
    later = EMPTY
    for chunk, first_ts, last_ts in chunks:
        extent = Span(first_ts, last_ts + step)
        (since,) = connection.execute("SELECT tx_from FROM chunk WHERE id = ?", (chunk,)).fetchone()
        if first is None or since < first - 1 or unsound:
            later |= Coverage.of(extent)  # the list of commits does not tell all
            continue
        written = connection.execute(
            "SELECT start, \"end\" FROM tx WHERE series = ? AND id > ? AND kind = 'write'"
            ' AND start < ? AND "end" > ?',
            (number, since, extent.end, extent.start),
        )
        later |= Coverage(Span(*span) for span in written.fetchall()).clip(extent)
    return later
