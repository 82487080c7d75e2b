"""The list of chunks in QuestDB follows the catalog; where it is ahead of it, the catalog is an older one.

The catalog and QuestDB share no transaction. So the list trails: what a process did not add before it ended,
the next one adds, for it adds all that changed since the commit that the list is complete for.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from secrets import randbits
from typing import NamedTuple

from qmtl.foundation.errors import StoreError
from qmtl.foundation.times import iso
from qmtl.foundation.words import counted
from qmtl.runtime.io.questdb.chunk_list import ChunkList, RowsView
from qmtl.runtime.io.questdb.rows import QuestDBRows
from qmtl.runtime.io.questdb.table import BarTable
from qmtl.runtime.io.questdb.wal import settle
from qmtl.runtime.io.sql.catalogs import (
    FIRST_PLACE,
    Forgotten,
    forgotten,
    list_of_chunks,
    note_forgotten,
    place_of_rows,
    put_list,
)
from qmtl.runtime.io.sql.commits import newest
from qmtl.runtime.io.sql.database import Database
from qmtl.runtime.io.sql.dialect import LIVE, Connection
from qmtl.runtime.io.store.values import Point

_log = logging.getLogger("seamless.store")
# A new list is cheaper than to add so many entries.
_MANY = 20_000


class Changes(NamedTuple):
    """What has changed since the commit that a list is complete for, up to commit `at`."""

    at: Point
    accepted: list[int]
    retired: list[int]


def changes_since(connection: Connection, last: Point) -> Changes | None:
    """The chunks that hold since, and those that hold no longer; None where a list has to be made anew.

    That is so where it is of commits that the catalog does not have, where the catalog has let go of commits
    since, and where damage has taken chunks, which leaves no trace of them.
    """
    at = newest(connection)
    if at == last:
        return Changes(at, [], [])
    first = _first(connection)
    if not _knows(connection, last, first) or 1 < first > last.tx:
        return None
    since = "FROM tx WHERE id > ?"
    if connection.execute(f"SELECT 1 {since} AND kind = 'repair' LIMIT 1", (last.tx,)).fetchone() is not None:
        return None
    found = connection.execute(
        f"SELECT id, tx_to FROM chunk WHERE series IN (SELECT series {since}) AND tx_to > ?"
        " AND (tx_from > ? OR tx_to < ?)",
        (last.tx, last.tx, last.tx, LIVE),
    ).fetchall()
    accepted = [int(number) for number, tx_to in found if tx_to == LIVE]
    retired = [int(number) for number, tx_to in found if tx_to < LIVE]
    return None if len(found) > _MANY else Changes(at, accepted, retired)


def _first(connection: Connection) -> int:
    (first,) = connection.execute("SELECT min(id) FROM tx").fetchone()
    return int(first or 1)


def _knows(connection: Connection, one: Point, first: int) -> bool:
    """Whether a commit is of this catalog, for all that it can say."""
    if one.tx < first:
        return one.as_of <= newest(connection).as_of
    found = connection.execute("SELECT committed_at FROM tx WHERE id = ?", (one.tx,)).fetchone()
    return found is not None and int(found[0]) == one.as_of


def told_of(found: Forgotten, table: str) -> tuple[str, str]:
    """What has become of rows that the catalog does not know, and what to do."""
    return (
        f"{table} has {counted(found.rows, 'row')} of commits from {found.tx} ({iso(found.at)}) on, which the"
        " catalog does not have: it was brought back from an older backup; nobody is shown them",
        "bring back a newer catalog before anything is written; or go on without these commits: bars that"
        " they brought are asked for again, those that they retracted are there again, and a compaction drops"
        " the rows after 'qmtl store verify --acknowledge'",
    )


class CurrentRows:
    """The list and the view of a store in QuestDB, and how they follow its catalog."""

    def __init__(self, database: Database, rows: QuestDBRows) -> None:
        self._database, self._rows = database, rows
        self.view = RowsView(rows.table)
        self._just_found: Forgotten | None = None

    def look_back(self) -> None:
        """See whether lists have commits that the catalog does not have. Raises `StoreError`."""
        lists = ChunkList.all_of(self._rows.table)
        with self._database.reading() as connection:
            number, found = list_of_chunks(connection), self._forgotten_of(connection, lists)
            is_new = not number and connection.execute("SELECT 1 FROM chunk LIMIT 1").fetchone() is not None
        self._just_found = found
        if found is not None:
            _log.warning("%s; %s", *told_of(found, self._rows.table.name))
        if not self._database.read_only and (found is not None or is_new):
            self._make_anew(number, found)

    def forgotten(self) -> Forgotten | None:
        """What the catalog no longer knows, until somebody has acknowledged it."""
        with self._database.reading() as connection:
            return forgotten(connection) or (self._just_found if self._database.read_only else None)

    def notes(self) -> tuple[str, ...]:
        """What is to be known of both, and what to do, as sentences."""
        found, behind = self.forgotten(), self.trails_by()
        notes = [] if found is None else ["; ".join(told_of(found, self._rows.table.name))]
        if behind:
            notes.append(f"the view {self.view.name} is {counted(behind, 'commit')} behind")
        return tuple(notes)

    def acknowledge(self) -> None:
        """Tell of it no longer."""
        with self._database.writing() as connection:
            if forgotten(connection) is not None:
                note_forgotten(connection, None)
                connection.execute("COMMIT")

    def trails_by(self) -> int | None:
        """How many commits the list does not have yet; None where there is none that follows the catalog."""
        with self._database.reading() as connection:
            number = list_of_chunks(connection)
            chunks = ChunkList(self._rows.table, number)
            with suppress(StoreError):  # a list that is suspended trails
                settle(self._rows.table.server, chunks.name)
            last = chunks.newest() if number else None
            changes = None if last is None else changes_since(connection, last)
            if last is None or changes is None or not self.view.shows(*self._shown(connection)):
                return None
            return changes.at.tx - last.tx if changes.accepted or changes.retired else 0

    def _forgotten_of(self, connection: Connection, lists: list[ChunkList]) -> Forgotten | None:
        first, bars, own = _first(connection), self._rows.table, list_of_chunks(connection)
        for one in lists:
            last = one.newest()
            if last is None or _knows(connection, last, first):
                continue
            since = next(at for at in one.commits() if not _knows(connection, at, first))
            known = {int(number) for (number,) in connection.execute("SELECT id FROM chunk").fetchall()}
            sizes = one.rows_since(bars, since)
            rows = sum(size for number, size in sizes.items() if number not in known)
            if rows or one.number == own:  # else it is left from another store of this name
                return Forgotten(rows, *since)
        return None

    def follow(self) -> None:
        """Add what has changed, and let the view show it. Raises `StoreError`; then the view trails."""
        table = self._rows.table
        with self._database.reading() as connection:
            number, has_commits = list_of_chunks(connection), newest(connection).tx > 0
            chunks = ChunkList(table, number)
            last = chunks.newest() if number else None
            changes = None if last is None else changes_since(connection, last)
            found = None
            if changes is None and has_commits:
                found = self._forgotten_of(connection, ChunkList.all_of(table))
        if changes is not None:
            if changes.accepted or changes.retired:
                chunks.add(*changes)
            self.show()
        elif has_commits:
            self._make_anew(number, found)

    def _make_anew(self, number: int, found: Forgotten | None) -> None:
        """Make a list of what holds now, in the place of list `number`."""
        made = ChunkList(self._rows.table, 1 + randbits(60))
        is_kept = False
        try:
            made.make()
            with self._database.reading() as connection:
                at = newest(connection)
                held = connection.execute("SELECT id FROM chunk WHERE tx_to = ?", (LIVE,)).fetchall()
            # No chunk has the number 0: an empty list says of which commit it is, too.
            made.add(at, [0, *(int(one) for (one,) in held)], [])
            settle(self._rows.table.server, made.name)
            with self._database.writing() as connection:
                if list_of_chunks(connection) == number:  # else another process was quicker
                    put_list(connection, made.number)
                    if found is not None:
                        note_forgotten(connection, found)
                    connection.execute("COMMIT")
                    is_kept = True
        finally:
            if not is_kept:
                made.drop()
        self.show()
        with self._database.reading() as connection:
            kept = list_of_chunks(connection)
        for one in ChunkList.all_of(self._rows.table):
            if one.number != kept:
                one.drop()

    def show(self) -> None:
        """Let the view show the rows where they are now, by the list that is the newest."""
        with self._database.reading() as connection:
            if self.view.shows(*self._shown(connection)):
                return
        with self._database.writing() as connection:  # nobody moves rows meanwhile, or makes a list anew
            self.view.show(*self._shown(connection))

    def _shown(self, connection: Connection) -> tuple[BarTable, ChunkList]:
        table = self._rows.table.at(place_of_rows(connection) or FIRST_PLACE)
        return table, ChunkList(table, list_of_chunks(connection))
