"""Every stored byte against its checksum, and every promise of the index against the bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.words import counted
from qmtl.runtime.io.sql.chunks import Chunk
from qmtl.runtime.io.sql.commits import series_named
from qmtl.runtime.io.sql.compaction import Progress as Progress
from qmtl.runtime.io.sql.dialect import LIVE, Connection
from qmtl.runtime.io.sql.index_checks import look_for_gaps, look_through_history
from qmtl.runtime.io.sql.repair import Lost, reported
from qmtl.runtime.io.sql.single_rows import Stored, unpack_single
from qmtl.runtime.io.sql.view import View
from qmtl.runtime.io.store.damage import Damage


@dataclass(frozen=True)
class Verification:
    """What `verify` has read, and what it found.

    chunks, hot_rows: how many were read, of all versions. damage: rows that cannot be read, oldest chunk
    first. problems: sentences on the file as a whole. lost: what damage had taken before, and what is neither
    healed nor acknowledged since. repaired: whether the damage was recorded, so that its ranges are unknown
    now. notes: what else is to be known, and is no damage.
    """

    chunks: int
    hot_rows: int
    damage: tuple[Damage, ...]
    problems: tuple[str, ...]
    lost: tuple[Lost, ...] = ()
    repaired: bool = False
    notes: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether every byte is as it was written, and nothing that was lost is still missing."""
        return not self.damage and not self.problems and not self.lost

    @property
    def is_readable(self) -> bool:
        """Whether every byte is as it was written; earlier damage may still be missing."""
        return not self.damage and not self.problems


_FETCH = 256


def verify(connection: Connection, progress: Progress | None) -> Verification:
    """Read everything as of one moment. `progress(done, total)` counts chunks."""
    dialect = connection.dialect
    problems = list(dialect.inspected(connection))
    damage: list[Damage] = []
    counts = [0, 0]
    try:
        problems += _overlapping_answers(connection)
        problems += _unsound_lists(connection)
        views = _views(connection, problems)
        for parts in (_index, _chunks, _single_rows):
            damage += parts(connection, views, counts, problems, progress)
        lost = reported(connection)
    except Exception as failure:  # of the engine: only its dialect can name those that tell of damage
        if not dialect.is_damage(failure):
            raise
        lost = []
        problems.append(f"{dialect.name} says: {failure}")
    chunks, hot_rows = counts
    return Verification(chunks, hot_rows, tuple(damage), tuple(dict.fromkeys(problems)), tuple(lost))


def glance(connection: Connection) -> Verification:
    """What is known without reading a bar: what the engine says, and what damage had taken before."""
    return Verification(
        0, 0, (), tuple(connection.dialect.inspected(connection)), tuple(reported(connection))
    )


def _views(connection: Connection, problems: list[str]) -> dict[int, View]:
    views = {}
    for number, node in connection.execute(
        f"SELECT id, node FROM series WHERE {connection.dialect.sound['series']}"
    ).fetchall():
        try:
            views[number] = View(connection, series_named(node), number, LIVE)
        except StoreCorruptError as error:
            problems.append(f"{error.what}: {error.why}")
    return views


_LISTS = {
    "series": "the list of series",
    "tx": "the list of commits",
    "reason": "the reasons of commits",
    "pin": "the list of pins",
    "report": "the archive of reports",
    "accepted": "the list of acceptances",
    "quarantine": "the quarantine",
    "lost": "the list of earlier damage",
    "setting": "the settings of the store",
    "identity": "the id of the store",
    "delivery": "the times of delivery",
    "fence": "the fencing tokens",
    "stream_session": "the sessions of streams",
    "schema_decision": "the decisions on schemas",
    "schema_observation": "the observations of schemas",
}


# What a commit writes and ends.
_OF_COMMITS = ("chunk", "hot", "answer", "facts")


def _unsound_lists(connection: Connection) -> Iterator[str]:
    """The lists that nothing can make anew."""
    for table, what in _LISTS.items():
        (count,) = connection.execute(
            f"SELECT count(*) FROM {table} WHERE NOT ({connection.dialect.sound[table]})"
        ).fetchone()
        if count:
            yield f"{counted(count, 'checksum')} of {what} {'does' if count == 1 else 'do'} not match"
    disordered = (
        "SELECT count(*) FROM (SELECT committed_at, lag(committed_at) OVER (ORDER BY id) AS before FROM tx)"
        " AS each"
    )
    (count,) = connection.execute(f"{disordered} WHERE before >= committed_at").fetchone()
    if count:
        yield f"{counted(count, 'commit')} {'is' if count == 1 else 'are'} not in order of time"
    # Numbers rise one by one, and only the oldest commits are ever let go.
    (count,) = connection.execute("SELECT coalesce(max(id) - min(id) + 1, 0) - count(*) FROM tx").fetchone()
    if count:
        yield f"the list of commits lacks {counted(count, 'commit')}"
    numbers = " UNION ALL ".join(
        f"SELECT tx_from AS number FROM {table} UNION ALL SELECT tx_to FROM {table} WHERE tx_to < {LIVE}"
        for table in _OF_COMMITS
    )
    (count,) = connection.execute(
        f"SELECT count(*) FROM ({numbers}) AS every WHERE number > (SELECT coalesce(max(id), 0) FROM tx)"
    ).fetchone()
    if count:
        yield f"{counted(count, 'row')} of commits that the list of commits does not have"


def _index(
    connection: Connection,
    views: dict[int, View],
    counts: list[int],
    problems: list[str],
    progress: Progress | None,
) -> list[Damage]:
    """Entries of series that have vanished, and answers and facts that are not as they were written."""
    look_for_gaps(list(views.values()))
    look_through_history(list(views.values()))
    for number in _with_overlapping_chunks(connection):
        if (view := views.get(number)) is not None:
            view.chunks(-LIVE, LIVE - 1)  # which reports those that do
    for number, view in views.items():
        for table, what in (("answer", "answers"), ("facts", "declarations")):
            (count,) = connection.execute(
                f"SELECT count(*) FROM {table} WHERE series = ? AND NOT ({connection.dialect.sound[table]})",
                (number,),
            ).fetchone()
            if count:
                view.report_index(f"{count} {what} do not match their checksums")
    return _taken(views)


def _taken(views: dict[int, View]) -> list[Damage]:
    found = [damage for view in views.values() for damage in view.damage]
    for view in views.values():
        view.damage.clear()
    return found


def _chunks(
    connection: Connection,
    views: dict[int, View],
    counts: list[int],
    problems: list[str],
    progress: Progress | None,
) -> list[Damage]:
    damage: list[Damage] = []
    (total,) = connection.execute(f"SELECT count(*) FROM chunk {connection.dialect.by_scan}").fetchone()
    last = -1
    while batch := connection.execute(
        "SELECT id, first_ts, last_ts, rows, codec, checksum, series,"
        f" {connection.dialect.sound['chunk']} FROM chunk WHERE id > ? ORDER BY id LIMIT ?",
        (last, _FETCH),
    ).fetchall():
        for *row, number, is_sound in batch:
            chunk, view = Chunk(*row), views.get(number)
            if view is None:
                problems.append(f"chunk {chunk.id} belongs to no series")
            elif not is_sound:
                view.report_entry(chunk)
            else:
                stamps = view.load(chunk).ts
                if len(stamps) and not (np.diff(stamps) > 0).all():
                    problems.append(f"chunk {chunk.id} of {view.series} is not in order of time")
            counts[0], last = counts[0] + 1, chunk.id
            if progress is not None:
                progress(counts[0], total)
        damage += _taken(views)
    return damage


def _single_rows(
    connection: Connection,
    views: dict[int, View],
    counts: list[int],
    problems: list[str],
    progress: Progress | None,
) -> list[Damage]:
    damage: list[Damage] = []
    several = "SELECT DISTINCT series FROM hot WHERE tx_to = ? GROUP BY series, ts HAVING count(*) > 1"
    doubled = {number for (number,) in connection.execute(several, (LIVE,)).fetchall()}
    for number, view in views.items():
        for rows in connection.batches(
            f"SELECT ts, tx_from, data FROM hot WHERE series = {number} ORDER BY ts", _FETCH
        ):
            counts[1] += len(rows)
            stored = [Stored(*row) for row in rows]
            for position in unpack_single(number, stored)[1]:
                view.report_stored(stored[position])
        if number in doubled:
            view.hot(-LIVE, LIVE - 1)  # which reports them
        damage += _taken(views)
    return damage


def _with_overlapping_chunks(connection: Connection) -> list[int]:
    """The row ids of series of which two current chunks overlap."""
    before = "lag(last_ts) OVER (PARTITION BY series ORDER BY last_ts)"
    found = connection.execute(
        "SELECT DISTINCT series FROM"
        f" (SELECT series, first_ts, {before} AS before FROM chunk WHERE tx_to = ?) AS each"
        " WHERE before >= first_ts",
        (LIVE,),
    )
    return [number for (number,) in found.fetchall()]


def _overlapping_answers(connection: Connection) -> list[str]:
    """Current answers of one series must not overlap."""
    before = 'lag("end") OVER (PARTITION BY series ORDER BY "end")'
    (count,) = connection.execute(
        f"SELECT count(*) FROM (SELECT start, {before} AS before FROM answer WHERE tx_to = ?) AS each"
        " WHERE before > start",
        (LIVE,),
    ).fetchone()
    return (
        [f"{counted(count, 'answer')} {'overlaps' if count == 1 else 'overlap'} another of their series"]
        if count
        else []
    )
