"""A whole copy of a store at another place: between folders, PostgreSQL and QuestDB, in every direction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.questdb_address import QuestDBAddress
from qmtl.foundation.server_addresses import ServerAddress
from qmtl.foundation.store_address import StoreAddress
from qmtl.runtime.io.sql.copying import Progress, StoreCopy, Target, copy
from qmtl.runtime.io.sql.database import Database
from qmtl.runtime.io.sql.sqlite import copy_target as folders
from qmtl.runtime.io.sql.sqlite.directory import StoreDirectory
from qmtl.runtime.sdk.stores import is_store, needs_psycopg, place_of, questdb_rows, questdb_store

if TYPE_CHECKING:
    from qmtl.runtime.io.questdb.rows import QuestDBRows

# How long the store that is copied may be locked by others, as it is opened.
_LOCK_S = 30.0


def copy_store(
    source: str | PathLike[str] | ServerAddress,
    target: str | PathLike[str] | ServerAddress,
    *,
    progress: Progress | None = None,
) -> StoreCopy:
    """Copy the store of a folder or of an address to another one, with its history and all that it keeps.

    source: may be read and written meanwhile; the copy holds what was committed when its last phase began.
        Rows that lie in QuestDB are packed where they are copied to.
    target: a new or empty folder, or an address whose schema is missing or empty; or one of QuestDB whose
        catalog is such a place, and whose tables are not there yet. No store is there before the copy is
        complete and answers as `source` does: compared by fingerprint at each pin and at the newest commit.
        An attempt that ends early leaves what it has copied beside it; the next goes on.
    progress: called with what is counted, how many are done, and how many there are.

    The copy has the id of the store, as a backup has. Raises `InvalidRequestError` where there is no store to
    copy, or anything at the target; `StoreCorruptError` for a damaged store; `StoreError` where there is no
    room, no server, or no right to write.
    """
    origin, place = place_of(source), place_of(target)
    with opened_to_copy(origin) as database, _target(place, origin, database) as made:
        return copy(database, made, progress or _unseen)


def restore_store(
    source: str | PathLike[str] | ServerAddress,
    target: ServerAddress,
    *,
    replace: bool = False,
    progress: Progress | None = None,
) -> StoreCopy:
    """Put a copy of a store, such as a backup, at an address; the rest is as `copy_store` has it.

    What was committed after the copy was made is lost there: an `as_of` between its newest commit and now is
    refused from then on.

    replace: whether a store that is there already may go; none whose rows lie in QuestDB. It does so in the
        transaction in which the copy takes its place, with its roles; until then nothing of it has changed.

    Raises `StoreLockedError` while anybody has it open, and `InvalidRequestError` where it is in the way and
    may not go.
    """
    origin, place = place_of(source), place_of(target)
    if replace and isinstance(place, QuestDBAddress):
        raise InvalidRequestError(
            f"a store whose rows lie in QuestDB cannot be replaced, such as {place.shown}",
            why="its tables and its catalog do not change in one transaction",
            next_step="restore to another catalog and other tables (&name=...), then drop these",
        )
    with opened_to_copy(origin) as database, _target(place, origin, database, replace=replace) as made:
        return copy(database, made, progress or _unseen, is_restored=True)


@contextmanager
def opened_to_copy(origin: Path | ServerAddress) -> Iterator[Database]:
    """The store of a folder or an address, to be read. Raises `InvalidRequestError` where there is none."""
    if not is_store(origin):
        raise InvalidRequestError(
            f"there is no store to copy at {origin}",
            next_step="check the folder, or the address; a snapshot is named snapshot:PLACE",
        )
    if isinstance(origin, QuestDBAddress):
        with questdb_store(origin, read_only=True) as store:
            yield store.catalog
        return
    if isinstance(origin, Path):
        with closing(StoreDirectory(origin, read_only=True, lock_timeout_s=_LOCK_S)) as folder:
            yield folder
        return
    from qmtl.runtime.io.sql.postgres.database import PostgresDatabase

    with closing(PostgresDatabase(origin, read_only=True, lock_timeout_s=_LOCK_S)) as database:
        yield database


def _target(
    place: Path | ServerAddress,
    origin: Path | ServerAddress,
    source: Database,
    *,
    replace: bool = False,
) -> AbstractContextManager[Target]:
    beside = origin.place if isinstance(origin, QuestDBAddress) else origin
    if not isinstance(place, QuestDBAddress):
        return _of_database(place, beside, replace=replace)
    rows = questdb_rows(place)
    from qmtl.runtime.io.questdb.copy_target import copy_target, refuse_early_bars

    refuse_early_bars(source)
    return copy_target(rows, _of_database(place.place, beside, elsewhere=rows), source.store_id)


def target_of_new(place: Path | ServerAddress) -> AbstractContextManager[Target]:
    """Where a store is made that is a copy of no other, such as one of a snapshot."""
    if not isinstance(place, QuestDBAddress):
        return _of_database(place, None)
    rows = questdb_rows(place)
    from qmtl.runtime.io.questdb.copy_target import copy_target

    return copy_target(rows, _of_database(place.place, None, elsewhere=rows), None)


def _of_database(
    place: Path | ServerAddress,
    origin: Path | ServerAddress | None,
    *,
    replace: bool = False,
    elsewhere: QuestDBRows | None = None,
) -> AbstractContextManager[Target]:
    if isinstance(place, Path):
        return folders.copy_target(place, origin if isinstance(origin, Path) else None, elsewhere=elsewhere)
    assert isinstance(place, StoreAddress)
    with needs_psycopg():
        from qmtl.runtime.io.sql.postgres import copy_target as schemas
    return schemas.copy_target(
        place,
        origin if isinstance(origin, StoreAddress) else None,
        replace=replace,
        elsewhere=elsewhere,
    )


def _unseen(what: str, done: int, total: int) -> None:
    """For callers who do not watch."""
