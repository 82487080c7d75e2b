"""A whole copy of a store, by whichever engines, which counts once it answers as the store does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.errors import InvalidRequestError, StoreCorruptError, StoreError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.words import counted
from qmtl.runtime.io.sql import pins
from qmtl.runtime.io.sql.commits import newest
from qmtl.runtime.io.sql.copied_tables import TABLES, UNFINISHED, copy_rows, count
from qmtl.runtime.io.sql.database import Database, Side
from qmtl.runtime.io.sql.dialect import Connection
from qmtl.runtime.io.sql.lost_tail import note_lost_tail
from qmtl.runtime.io.sql.packed_copies import copy_some, read_back
from qmtl.runtime.io.sql.same_answers import compare
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.values import Point

Loaded = TypeVar("Loaded")

# What is counted, how many are done, and how many there are.
Progress = Callable[[str, int, int], None]


class Target(Protocol):
    """Where a copy is made: beside its place, so that it is no store there before it is complete."""

    @property
    def location(self) -> str:
        """Its place, as people write it."""
        ...

    @property
    def database(self) -> Database:
        """What is made, where it is made."""
        ...

    def complete(self, connection: Connection, newest: Point) -> None:
        """Commit what was written last: the copy is complete, and takes its place."""
        ...


@dataclass(frozen=True)
class StoreCopy:
    """What was copied.

    last_tx, as_of (ns): number and time of its newest commit, 0 if none. rows: those that it holds now.
    chunks, bytes: packed chunks of all versions. resumed: those of them that an earlier attempt had copied.
    pins: by name, those at which both stores were compared, beside the newest commit.
    """

    source: str
    target: str
    last_tx: int
    as_of: int
    series: int
    rows: int
    chunks: int
    bytes: int
    resumed: int
    pins: tuple[str, ...]


def copy(source: Database, target: Target, progress: Progress, *, is_restored: bool = False) -> StoreCopy:
    """Copy a store with its history and all that it keeps beside bars, as of one commit.

    Others may read and write it meanwhile. What has come that far is kept when it ends early, and another
    attempt goes on with it. The copy is what `source` is: it has the same id, and its commits go on with the
    same numbers. is_restored: whether it takes the place of one that may have gone on since it was made.

    Raises `InvalidRequestError` where something else was begun at the target; `StoreCorruptError` where the
    store is damaged, or the copy does not answer as it does.
    """
    _begin(source, target)
    resumed = _copy_packed(source, target.database, progress)
    with _both(source, target.database) as (old, new):
        with old.naming():
            point = newest(old.connection)
            held = pins.listed(old.connection)
            series = [
                SeriesId.parse(node)
                for (node,) in old.connection.execute("SELECT node FROM series ORDER BY id").fetchall()
            ]
        chunks = _copy_rest(old, new, progress)
        size = read_back(new.connection)
        rows = _compare(old, new, series, held, progress)
        last = point
        # A copy would not know it from where it lies: that the original may lack commits, as a replica may.
        if is_restored or old.connection.missing_behind:
            last = note_lost_tail(new.connection, new.connection.now or SystemClock().now())
        target.complete(new.connection, last)
    names = tuple(pin.name for pin in held)
    return StoreCopy(
        source.location, target.location, *point, len(series), rows, chunks, size, resumed, names
    )


def fill(target: Target, of: int, load: Callable[[Store], Loaded]) -> Loaded:
    """Make a store by `load`, which is given an empty one, or what an attempt that ended early has left.

    of: a number of what is loaded, which tells such an attempt from others. The store takes its place once
    `load` has ended well. Raises `InvalidRequestError` where something else was begun at the target.
    """
    database = target.database
    with database.writing() as connection:
        found = connection.execute("SELECT value FROM setting WHERE name = ?", (UNFINISHED,)).fetchone()
        is_ours = found is not None and found[0] == of
        if not is_ours and any(
            count(connection, one) for one in TABLES if one not in ("identity", "setting")
        ):
            raise _in_the_way(target, "a copy of something else is there, and not finished")
        connection.execute("DELETE FROM setting WHERE name = ?", (UNFINISHED,))
        connection.execute("INSERT INTO setting (name, value) VALUES (?, ?)", (UNFINISHED, of))
        connection.execute("COMMIT")
    loaded = load(KeptStore(database, SystemClock(), None))
    with database.writing() as connection:
        connection.execute("DELETE FROM setting WHERE name = ?", (UNFINISHED,))
        target.complete(connection, newest(connection))
    return loaded


@contextmanager
def _both(source: Database, target: Database) -> Iterator[tuple[Side, Side]]:
    with source.reading() as old, target.writing() as new:
        yield Side(source, old), Side(target, new)


def _begin(source: Database, target: Target) -> None:
    """Say whose copy it is. Raises `InvalidRequestError` where something else lies there already."""
    with source.reading() as connection:
        if _is_unfinished(connection):
            raise InvalidRequestError(
                f"{source.location} is a copy that was not finished",
                next_step="repeat the copy that was interrupted; it goes on where it ended",
            )
    database = target.database
    with database.writing() as connection:
        (found,) = connection.execute("SELECT store_id FROM identity").fetchone()
        is_ours = _is_unfinished(connection)
        if is_ours and found == source.store_id:
            return
        if any(count(connection, table) for table in TABLES if table not in ("identity", "setting")):
            raise _in_the_way(
                target,
                f"an unfinished copy of another store is there, of {found}"
                if is_ours
                else "a store is there, and its name is that of unfinished copies",
            )
        connection.execute("UPDATE identity SET store_id = ?", (source.store_id,))
        if not is_ours:
            connection.execute("INSERT INTO setting (name, value) VALUES (?, 1)", (UNFINISHED,))
        connection.execute("COMMIT")


def _in_the_way(target: Target, why: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"the copy cannot be made at {target.database.location}",
        why=why,
        next_step=f"remove it if nobody wants it, or name another place than {target.location}",
    )


def _is_unfinished(connection: Connection) -> bool:
    found = connection.execute("SELECT 1 FROM setting WHERE name = ?", (UNFINISHED,))
    return found.fetchone() is not None


def _copy_packed(source: Database, target: Database, progress: Progress) -> int:
    """Copy the bulk in many short transactions; how many chunks were there already."""
    with source.reading() as connection:
        total = count(connection, "chunk")
    done = resumed = 0
    last = -1
    while True:
        with source.reading() as old, target.writing(is_durable=False) as new:
            some = copy_some(Side(source, old), new, last)
            new.execute("COMMIT")
        if some is None:
            return resumed
        last, done, resumed = some.last, done + some.there + some.copied, resumed + some.there
        progress("chunks", done, max(done, total))


def _copy_rest(old: Side, new: Side, progress: Progress) -> int:
    """Copy all else as of one moment; how many chunks there are."""
    last = -1
    while (some := copy_some(old, new.connection, last)) is not None:
        last = some.last
    with old.naming():
        counts = {table: count(old.connection, table) for table in TABLES}
    done, total = 0, sum(counts.values())
    for table in TABLES:
        for rows in copy_rows(old, new.connection, table):
            done += rows
            progress("rows", done, total)
        if (there := count(new.connection, table)) != counts[table]:
            raise StoreCorruptError(
                f"the copy has {there:,} of {counts[table]:,} rows of the table {table!r}",
                path=new.database.location,
                next_step="the copy was not put in its place: look into the disk or the server, and repeat",
            )
    new.connection.execute("DELETE FROM blob WHERE chunk NOT IN (SELECT id FROM chunk)")
    new.connection.execute("DELETE FROM setting WHERE name = ?", (UNFINISHED,))
    return counts["chunk"]


def _compare(old: Side, new: Side, series: list[SeriesId], held: list[pins.Pin], progress: Progress) -> int:
    """Read both stores at each pin and at the newest commit; how many rows they have there."""
    rows = done = 0
    for pin in (*held, None):
        rows = 0
        for one in series:
            rows += compare(old, new, one, pin)
            done += 1
            progress("series compared", done, len(series) * (len(held) + 1))
    return rows


def what_is_in(opens: Callable[[], Database]) -> str:
    """What a place holds that is a store already. opens: opens its database, to be read."""
    try:
        with closing(opens()) as database, database.reading() as connection:
            series, last = count(connection, "series"), newest(connection).tx
    except StoreError as failure:  # such as that it is the catalog of one
        return failure.what
    return f"it holds {series:,} series and {counted(last, 'commit')}"
