"""Whether what lies in a folder is a store, and of which format."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

from qmtl.foundation.errors import StoreCorruptError, StoreError
from qmtl.foundation.words import counted
from qmtl.runtime.io.sql.formats import refuse_newer
from qmtl.runtime.io.sql.sqlite.layout import APPLICATION_ID, DATABASE, FORMAT, LOCK, LOG, format_of
from qmtl.runtime.io.sql.sqlite.locks import newest_commit


class Found(NamedTuple):
    """A folder that is a store, or may become one.

    newest: the commit that was durable when the lock's file was last written; None if it does not say.
    """

    newest: int | None
    read_only: bool


def inspect(folder: Path, *, read_only: bool) -> Found:
    """Refuse a folder that cannot be a store, and find out whether it can be written."""
    try:
        # Before SQLite looks: it would take an empty file for a new one, and throw its log away. In this
        # order: others may be laying the store out meanwhile, lock first, then the file, then its log.
        newest = newest_commit(folder / LOCK)
        log, database = _size(folder / LOG), _size(folder / DATABASE)
        present = sorted(entry.name for entry in folder.iterdir())
    except OSError as failure:
        raise unusable(folder, failure) from failure
    if not database and (trace := _trace_of_a_store(newest, log, database, LOCK in present)):
        raise StoreCorruptError(
            f"{DATABASE} is {'missing' if database is None else 'empty'}, and was not always",
            path=folder,
            why=trace,
            next_step="bring it back from a backup (`qmtl store restore`), or delete the whole directory "
            "to begin anew",
        )
    if DATABASE not in present:
        if read_only or not os.access(folder, os.W_OK):
            raise StoreError(
                "there is no store to read here",
                path=folder,
                why=f"{DATABASE} is missing, and the directory is not to be written",
                next_step="check the path, or open it for writing once",
            )
        if present and LOCK not in present:
            shown = ", ".join(present[:3])
            raise StoreError(
                "the directory holds other things, and no store",
                path=folder,
                why=f"it has {counted(len(present), 'entry', 'entries')}, such as {shown}",
                next_step="name an empty or a new directory",
            )
        return Found(newest, read_only)
    is_writable = all(os.access(place, os.W_OK) for place in (folder, folder / DATABASE))
    return Found(newest, read_only or not is_writable)


def _trace_of_a_store(
    newest: int | None, log: int | None, database: int | None, has_lock: bool
) -> str | None:
    """What proves that an empty or a missing file once was a store."""
    if newest is not None:
        return f"{LOCK} says that commit {newest} was the newest"
    if log:
        return f"{LOG} holds commits that belong to it"
    if database == 0 and not has_lock:
        return f"a new one is never made without {LOCK}"
    return None


def unusable(folder: Path, failure: OSError) -> StoreError:
    return StoreError(
        "the directory of the store cannot be used",
        path=folder,
        why=str(failure),
        next_step="name a directory that exists or can be made, and that this user may read",
    )


def _size(path: Path) -> int | None:
    """Bytes of a file, or None if it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _as_text(data: bytes) -> str:
    """Damaged text must not stop a reader before it has looked at the checksum."""
    return data.decode(errors="replace")


def recognise(connection: sqlite3.Connection, folder: Path) -> int:
    """Which format the store has; 0 if the file is new and empty. Raises for what is not ours to read."""
    # In one transaction: another process may be laying the file out at this moment.
    connection.execute("BEGIN")
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    version = format_of(connection)
    connection.execute("ROLLBACK")
    if not application and not tables:
        return 0
    if application != APPLICATION_ID:
        raise StoreCorruptError(
            f"{folder / DATABASE} belongs to another program",
            path=folder,
            why=f"its SQLite application id is {application:#x}, not {APPLICATION_ID:#x}",
            next_step="name another directory for the store",
        )
    refuse_newer(version, FORMAT, folder)
    return version
