"""Rows that no commit names are dropped: those that one names are written anew, and the others left behind.

QuestDB has no way to delete rows. So the rows go into a table of a new name, and one transaction of the
catalog says that they are there from now on. Whatever ends in between leaves a table that nobody uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from secrets import randbits

from qmtl.foundation.errors import StoreError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.words import counted
from qmtl.runtime.io.questdb.rows import QuestDBRows, as_bytes, rows_in
from qmtl.runtime.io.questdb.table import BarTable
from qmtl.runtime.io.sql.catalogs import (
    Forgotten,
    begin_moving,
    forgotten,
    place_coming,
    place_of_rows,
    put_rows,
)
from qmtl.runtime.io.sql.chunks import Chunk
from qmtl.runtime.io.sql.codec import checksum_of
from qmtl.runtime.io.sql.commits import series_named
from qmtl.runtime.io.sql.database import Database
from qmtl.runtime.io.sql.dialect import Connection

# Less than this part of the rows is left where it is.
WORTH_IT = 0.1
# Chunks that are copied, and compared, at a time: their rows are in memory together.
_AT_ONCE = 64
# Beside chunks of all versions, in order of time: those that are copied at once lie near each other.
_NAMED = (
    "SELECT s.node, c.id, c.first_ts, c.last_ts, c.rows, c.codec, c.checksum"
    " FROM chunk AS c JOIN series AS s ON s.id = c.series ORDER BY c.first_ts, c.id"
)

_Named = tuple[SeriesId, Chunk]


def drop_unnamed(database: Database, rows: QuestDBRows, moved: Callable[[], None]) -> tuple[int, str]:
    """Drop rows that no commit names, if they are many; how many, and what was left undone, and why.

    moved: called once the catalog names the new table, and before the old one is dropped.

    Others may read and write meanwhile: who has sent rows to the table that is left sends them again. Raises
    `StoreError` where the server has no room, or fails; then all is as it was.
    """
    old, new = rows.table, rows.table.at(2 + randbits(62))
    with database.reading() as connection:
        named, newer = _named(connection), forgotten(connection)
    if newer is not None and newer.rows:
        return 0, _kept(newer)
    total = old.size()
    nobodys = total - sum(chunk.rows for _, chunk in named)
    is_worth_it = nobodys > 0 and nobodys >= WORTH_IT * total
    if not is_worth_it and len(old.places()) == 1:
        return 0, _left(nobodys, total)
    with database.writing() as connection:
        begin_moving(connection, new.place)
        connection.execute("COMMIT")
    _drop_others(database, new)
    if not is_worth_it:
        return 0, _left(nobodys, total)
    try:
        is_done = _move(database, old, new, named)
    except StoreError:
        with database.reading() as connection:
            if place_coming(connection) == new.place:
                raise
        is_done = False  # whoever came later has dropped the new table
    if not is_done:
        return 0, "another compaction drops the rows in QuestDB that no commit names"
    rows.put(new.place)
    moved()
    _drop_others(database, new)
    return nobodys, ""


def _move(database: Database, old: BarTable, new: BarTable, named: list[_Named]) -> bool:
    """Write the named rows anew, and let the catalog say so; False if somebody else has begun to do so."""
    new.make_like(old)
    _copy(old, new, named)
    with database.writing() as connection:
        if place_coming(connection) != new.place or place_of_rows(connection) != old.place:
            return False
        known = {chunk.id for _, chunk in named}
        _copy(old, new, [one for one in _named(connection) if one[1].id not in known])
        put_rows(connection, new.place)
        connection.execute("COMMIT")
    return True


def _kept(newer: Forgotten) -> str:
    """Somebody may bring back the catalog that names them."""
    return (
        f"{counted(newer.rows, 'row')} in QuestDB of commits from {newer.tx} on, which the catalog does not"
        " know, are kept until 'qmtl store verify --acknowledge'"
    )


def _left(nobodys: int, total: int) -> str:
    if nobodys <= 0:
        return ""
    return (
        f"no commit names {nobodys:,} of {counted(total, 'row')} in QuestDB: too few to write the others anew"
    )


def _named(connection: Connection) -> list[_Named]:
    found = connection.execute(_NAMED).fetchall()
    return [(series_named(node), Chunk(*chunk)) for node, *chunk in found]


def _drop_others(database: Database, mine: BarTable) -> None:
    """Drop all tables but the one that the catalog names, and ours; unless somebody else has begun since."""
    with database.writing() as connection:
        if place_coming(connection) == mine.place:
            kept = {place_of_rows(connection), mine.place}
            for place in mine.places():
                if place not in kept:
                    mine.at(place).drop()


def _copy(old: BarTable, new: BarTable, named: Sequence[_Named]) -> None:
    """Write chunks anew, wait until they can be read, and compare."""
    for some in _batches(named):
        new.copy(old, [chunk for _, chunk in some])
    new.settle()
    for some in _batches(named):
        there = as_bytes(rows_in(new, some))
        wrong = [
            (one, back)
            for one, back in zip(some, there, strict=True)
            if not isinstance(back, bytes) or checksum_of(back) != one[1].checksum
        ]
        # What is damaged already stays so; the checksums of the catalog tell.
        before = as_bytes(rows_in(old, [one for one, _ in wrong])) if wrong else []
        if any(str(back) != str(was) for (_, back), was in zip(wrong, before, strict=True)):
            raise _changed(new, "rows have other values")


def _batches(named: Sequence[_Named]) -> Iterator[Sequence[_Named]]:
    return (named[first : first + _AT_ONCE] for first in range(0, len(named), _AT_ONCE))


def _changed(new: BarTable, why: str) -> StoreError:
    return StoreError(
        "the rows that were written anew are not those that there were",
        path=new.server.address.shown,
        why=f"{why} in {new.name}",
        next_step="all is as it was; look into the log of the server, and repeat",
    )
