"""What failures of SQLite mean to people, and what they can do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from qmtl.foundation.errors import StoreCorruptError, StoreError, StoreLockedError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.sql.sqlite.layout import DATABASE


def is_full(failure: sqlite3.Error) -> bool:
    """Whether SQLite could not write for want of room. A full disk may show as an error of writing."""
    code = getattr(failure, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_FULL or code in _OF_A_FULL_DISK


# The last one: the index of the log, which every reader needs, could not be given its size.
_OF_A_FULL_DISK = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)


def meaning(failure: Exception, folder: Path, series: SeriesId | None, span: Span | None) -> StoreError:
    # Where SQLite cannot even say what is wrong in text, the layout itself is damaged.
    code = getattr(failure, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if isinstance(failure, sqlite3.Error) and is_full(failure):
        code = sqlite3.SQLITE_FULL
    kind, what, next_step = _MEANINGS.get(code, (StoreError, "SQLite failed", "run `qmtl store verify`"))
    return kind(
        what, path=folder, series=series, span=span, why=f"SQLite says: {failure}", next_step=next_step
    )


_MEANINGS: dict[int, tuple[type[StoreError], str, str]] = {
    sqlite3.SQLITE_FULL: (
        StoreError,
        "there is no room left for the store",
        "free some space and repeat; what was being written was not kept",
    ),
    sqlite3.SQLITE_IOERR: (
        StoreError,
        "the disk of the store refuses to be read or written",
        "check the disk and its free space, then repeat; what was being written was not kept",
    ),
    sqlite3.SQLITE_READONLY: (
        StoreError,
        "the store cannot be written",
        "give this user the right to write to the directory",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        StoreError,
        "the store cannot be opened",
        "check that the directory exists and that this user may read and write it",
    ),
    sqlite3.SQLITE_BUSY: (
        StoreLockedError,
        "another program holds the file of the store",
        "close programs that have opened it by other means than qmtl",
    ),
    sqlite3.SQLITE_CORRUPT: (
        StoreCorruptError,
        "the file of the store is damaged",
        "run `qmtl store verify`; bring the store back from a backup (`qmtl store restore`)",
    ),
    # What is asked never changes, so that a name which is not there is one that the file has lost.
    sqlite3.SQLITE_ERROR: (
        StoreCorruptError,
        "the layout of the store is damaged",
        "run `qmtl store verify`; bring the store back from a backup (`qmtl store restore`)",
    ),
    sqlite3.SQLITE_NOTADB: (
        StoreCorruptError,
        f"{DATABASE} is not a store",
        "name another directory, or bring the store back from a backup (`qmtl store restore`)",
    ),
}
