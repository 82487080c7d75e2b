"""A copy that is made in a folder: under another name first, and in its place once it is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from qmtl.foundation.durable import make_durable
from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.io.sql.chunks import RowsElsewhere
from qmtl.runtime.io.sql.copied_tables import UNFINISHED
from qmtl.runtime.io.sql.copying import what_is_in
from qmtl.runtime.io.sql.dialect import Connection
from qmtl.runtime.io.sql.sqlite.backup import made_empty, refuse_itself
from qmtl.runtime.io.sql.sqlite.directory import StoreDirectory
from qmtl.runtime.io.sql.sqlite.layout import DATABASE, LOCK
from qmtl.runtime.io.sql.sqlite.locks import UseLock
from qmtl.runtime.io.store.values import Point

# What lies in a folder of this name is no store yet. It stays when a copy ends early, for the next attempt.
INCOMPLETE = "incomplete-copy"
_LOCK_S = 30.0


class FolderTarget:
    """Implements `Target`."""

    def __init__(self, folder: Path, database: StoreDirectory) -> None:
        self.location, self.database = str(folder), database
        self.is_complete = False

    def complete(self, connection: Connection, newest: Point) -> None:
        self.database.commit(connection, newest)
        self.is_complete = True


@contextmanager
def copy_target(
    folder: Path, source: Path | None, *, elsewhere: RowsElsewhere | None = None
) -> Iterator[FolderTarget]:
    """The target of a copy into a folder, which is new or empty; put in its place when the block ends.

    source: the folder that is copied, if it is one. elsewhere: where bars go, if only the catalog is made
    here. Raises `InvalidRequestError` for a folder that holds
    anything, or the store that is copied; `StoreLockedError` while another copy is made there.
    """
    folder = Path(os.path.abspath(folder.expanduser()))
    if source is not None:
        refuse_itself(source, folder, "the copy")
    if (folder / DATABASE).exists():
        raise InvalidRequestError(
            f"there is a store at {folder} already",
            why=what_is_in(partial(StoreDirectory, folder, read_only=True, lock_timeout_s=_LOCK_S)),
            next_step="name a new folder",
        )
    unfinished = folder / INCOMPLETE
    made_empty(folder, but_for=_leftovers(unfinished))
    # Nobody makes a store there meanwhile.
    with closing(UseLock(folder, alone=True, timeout_s=0.0)):
        made_empty(folder, but_for=_leftovers(unfinished))
        with closing(
            StoreDirectory(unfinished, read_only=False, lock_timeout_s=_LOCK_S, elsewhere=elsewhere)
        ) as database:
            _mark(database)
            target = FolderTarget(folder, database)
            yield target
        if target.is_complete:
            # Lock first: without the database beside it, it says that something is missing.
            for name in (LOCK, DATABASE):
                os.replace(unfinished / name, folder / name)
            for changed in (folder, folder.parent):
                make_durable(changed)
            shutil.rmtree(unfinished)


def _mark(database: StoreDirectory) -> None:
    """What lies there is unfinished, also where it was complete and did not get to its place."""
    with database.writing() as connection:
        connection.execute(
            "INSERT INTO setting (name, value) VALUES (?, 1) ON CONFLICT DO NOTHING", (UNFINISHED,)
        )
        connection.execute("COMMIT")


def _leftovers(unfinished: Path) -> list[str]:
    """What an earlier attempt may have left in the folder: killed at its very end, it had moved the lock."""
    moved = (unfinished / DATABASE).exists() and not (unfinished / LOCK).exists()
    return [INCOMPLETE, LOCK] if moved else [INCOMPLETE]
