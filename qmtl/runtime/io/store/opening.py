"""Where a store lives: how its directory is opened, locked and left, and what its failures mean."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from urllib.parse import quote

from qmtl.foundation.errors import QmtlError, StoreCorruptError, StoreError, StoreLockedError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.store.compaction import PAGES_AT_ONCE
from qmtl.runtime.io.store.connections import Connections
from qmtl.runtime.io.store.locks import CommitLock, UseLock, newest_commit
from qmtl.runtime.io.store.schema import (
    DATABASE,
    FORMAT,
    LOCK,
    SHARD_STEPS,
    bring_up_to_date,
    create,
    read_as_today,
    recognise,
    shard_steps,
    teach,
)

# SQLite keeps what was committed but not yet moved into the main file in this one.
_LOG = DATABASE + "-wal"
# The log is cut back to this size once a large commit has been moved into the main file.
_LOG_BYTES = 64 * 2**20


class Home:
    """The directory of one store, its connections and its lock."""

    def __init__(
        self, folder: Path, *, read_only: bool, lock_timeout_s: float, lost_commits_ok: bool = False
    ) -> None:
        self.folder = Path(os.path.abspath(folder))
        self.read_only = read_only
        self._lock_timeout_s = lock_timeout_s
        self._closed = False
        self._immutable: tuple[int, ...] | None = None
        self.shard_steps = SHARD_STEPS
        self._lost_commits_ok = lost_commits_ok
        self._use = self._enter()
        self.lock = CommitLock(self.folder / LOCK, timeout_s=lock_timeout_s)
        self._pool = Connections(self._connect, self._closing)
        self._watch = Connections(self._connect, self._closing, limit=1)
        try:
            self._inspect()
            with self.translated():
                self._settle()
        except BaseException:
            self.close()
            raise

    def _enter(self) -> UseLock:
        """Make the directory if need be, and keep others from replacing what is in it."""
        folder = self.folder
        try:
            if folder.exists() and not folder.is_dir():
                raise StoreError(
                    f"{folder} is a file, not a directory",
                    path=folder,
                    next_step="name a directory; a missing one is made",
                )
            if not self.read_only:
                folder.mkdir(parents=True, exist_ok=True)
            return UseLock(folder, timeout_s=self._lock_timeout_s)
        except OSError as failure:
            raise self._unusable(failure) from failure

    def _unusable(self, failure: OSError) -> StoreError:
        return StoreError(
            "the directory of the store cannot be used",
            path=self.folder,
            why=str(failure),
            next_step="name a directory that exists or can be made, and that this user may read",
        )

    def _inspect(self) -> None:
        """Refuse what cannot be a store, and find out whether it can be written."""
        folder = self.folder
        try:
            # Before SQLite looks: it would take an empty file for a new one, and throw its log away. In this
            # order: others may be laying the store out meanwhile, lock first, then the file, then its log.
            self._newest = newest_commit(folder / LOCK)
            log, database = _size(folder / _LOG), _size(folder / DATABASE)
            present = sorted(entry.name for entry in folder.iterdir())
        except OSError as failure:
            raise self._unusable(failure) from failure
        if not database and (trace := self._trace_of_a_store(log, database, LOCK in present)):
            raise StoreCorruptError(
                f"{DATABASE} is {'missing' if database is None else 'empty'}, and was not always",
                path=folder,
                why=trace,
                next_step="bring it back from a backup (`qmtl store restore`), or delete the whole directory "
                "to begin anew",
            )
        if DATABASE not in present:
            if self.read_only or not os.access(folder, os.W_OK):
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
                    why=f"it has {len(present)} entries, such as {shown}",
                    next_step="name an empty or a new directory",
                )
        elif not all(os.access(place, os.W_OK) for place in (folder, folder / DATABASE)):
            self.read_only = True

    def _trace_of_a_store(self, log: int | None, database: int | None, has_lock: bool) -> str | None:
        """What proves that an empty or a missing file once was a store."""
        if self._newest is not None:
            return f"{LOCK} says that commit {self._newest} was the newest"
        if log:
            return f"{_LOG} holds commits that belong to it"
        if database == 0 and not has_lock:
            return f"a new one is never made without {LOCK}"
        return None

    def _settle(self) -> None:
        """Lay out a new file, update an older one; refuse a foreign one, or one that lost commits."""
        with self._pool.use() as connection:
            found = recognise(connection, self.folder)
            if self._newest is not None:
                self._refuse_loss(connection, found)
            if self.read_only and not found:
                raise StoreError("the store is empty, and was never laid out", path=self.folder)
            if found < FORMAT and not self.read_only:
                self._lay_out(connection)
            self.shard_steps = shard_steps(connection)

    def _refuse_loss(self, connection: sqlite3.Connection, found: int) -> None:
        """Raise `StoreCorruptError` if commits are gone that were durable once."""
        last = 0
        if found:
            (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM tx").fetchone()
        if found and last >= (self._newest or 0):
            return
        if found and self._lost_commits_ok:
            with self.lock.held():
                self.lock.note(last)
            self._newest = last
            return
        raise StoreCorruptError(
            "the newest commits of the store are gone",
            path=self.folder,
            why=f"commit {self._newest} was durable, and the newest one there is {last}: {_LOG} is lost, or "
            f"{DATABASE} was replaced by an older one",
            next_step=f"bring {_LOG} back, or a backup (`qmtl store restore`); "
            "`qmtl store verify --acknowledge` goes on without these commits",
        )

    def note_newest(self) -> None:
        """Write down which commit is the newest."""
        with self.translated(), self._pool.use() as connection, self.lock.held():
            (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM tx").fetchone()
            self.lock.note(last)

    def remember(self, tx: int) -> None:
        """Write down that commit `tx` is durable. Only inside `writing`."""
        self.lock.note(tx)

    def _lay_out(self, connection: sqlite3.Connection) -> None:
        with self.lock.held():
            found = recognise(connection, self.folder)  # another process may have been quicker
            if not found:
                create(connection)
                for folder in (self.folder, self.folder.parent):
                    keep_entries(folder)
                self.lock.note(0)
            elif found < FORMAT:
                bring_up_to_date(connection)

    # Connections

    def _connect(self) -> sqlite3.Connection:
        connection = self._connected()
        try:
            teach(connection)
            connection.text_factory = _as_text
            if self.read_only:
                read_as_today(connection)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _connected(self) -> sqlite3.Connection:
        if not (self.read_only or (self.folder / DATABASE).exists() or (self.folder / LOCK).exists()):
            # Before the database: an empty one without a lock beside it was never made here.
            with self.lock.held():
                pass
        name = quote(str(self.folder / DATABASE))
        if not self.read_only:
            connection = self._open(f"file:{name}?mode=rwc")
            try:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
            except sqlite3.Error:
                connection.close()
                raise
            return connection
        connection = self._open(f"file:{name}?mode=ro")
        try:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.DatabaseError as failure:
            connection.close()
            if failure.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise
            # The log has no index, and none can be made here. Without a log none is needed.
            log = self.folder / _LOG
            if log.exists() and log.stat().st_size:
                raise StoreError(
                    "the newest commits cannot be read from a directory that cannot be written",
                    path=self.folder,
                    why=f"they are still in {_LOG}, which must first be moved into {DATABASE}",
                    next_step="open the store once where it can be written, or copy the directory",
                ) from failure
            self._immutable = self._stamp()
            connection = self._open(f"file:{name}?mode=ro&immutable=1")
        return connection

    def _open(self, uri: str) -> sqlite3.Connection:
        return sqlite3.connect(
            uri, uri=True, timeout=self._lock_timeout_s, isolation_level=None, check_same_thread=False
        )

    def _closing(self) -> AbstractContextManager[None]:
        # Without the lock's file no store was ever laid out here, and nothing is to be left behind.
        ours = not self.read_only and (self.folder / LOCK).exists()
        return self.lock.held() if ours else nullcontext()

    def _stamp(self) -> tuple[int, ...]:
        state = (self.folder / DATABASE).stat()
        return (state.st_mtime_ns, state.st_size, state.st_ino, int((self.folder / _LOG).exists()))

    # Use

    @contextmanager
    def reading(
        self, series: SeriesId | None = None, span: Span | None = None
    ) -> Iterator[sqlite3.Connection]:
        """A connection to read by; whatever transaction is opened on it ends with the block."""
        self._ready()
        with self.translated(series, span), self._pool.use() as connection:
            yield connection

    @contextmanager
    def writing(
        self, series: SeriesId | None = None, *, timeout_s: float | None = None
    ) -> Iterator[sqlite3.Connection]:
        """A connection inside `BEGIN IMMEDIATE`, under the lock. Without a COMMIT all is rolled back."""
        self.refuse_unwritable(series)
        with self.translated(series), self._pool.use() as connection, self.lock.held(timeout_s):
            connection.execute("BEGIN IMMEDIATE")
            yield connection

    def refuse_unwritable(self, series: SeriesId | None = None) -> None:
        """Raise `StoreError` if the store cannot be written."""
        self._ready()
        if self.read_only:
            raise StoreError(
                "the store cannot be written",
                path=self.folder,
                series=series,
                why="it was opened read-only, or its directory or file cannot be written",
                next_step="open it without read_only, or give this user the right to write there",
            )

    def version(self) -> int:
        """See `Store.version`. The connection that answers never writes, so it sees commits of all others."""
        self._ready()
        try:
            (number,) = self._watch.glance("PRAGMA data_version")
        except sqlite3.Error as failure:
            with self.translated():  # asked for at each fetch from a cache, so only a failure pays for it
                raise failure
        return (self._watch.generation << 40) + int(number)

    def shrink(self) -> None:
        """Give unused pages back to the file system, and cut the log to nothing if nobody reads it."""
        free = PAGES_AT_ONCE
        while free >= PAGES_AT_ONCE:
            with self.translated(), self._pool.use() as connection, self.lock.held():
                # As a script: `execute` would stop after the first page.
                connection.executescript(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})")
                (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        with self.translated(), self._pool.use() as connection, self.lock.held():
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close all connections. The store cannot be used afterwards; closing twice is nothing."""
        if not self._closed:
            self._closed = True
            self._watch.close()
            self._pool.close()
            self.lock.close()
            self._use.close()

    def _ready(self) -> None:
        if self._closed:
            raise StoreError("the store is closed", path=self.folder, next_step="open it again")
        if self._immutable is not None and self._immutable != self._stamp():
            # Somebody who may write has written; SQLite was told that nobody would.
            self._immutable = None
            self._watch.close()
            self._pool.close()

    @contextmanager
    def translated(self, series: SeriesId | None = None, span: Span | None = None) -> Iterator[None]:
        """Turn what SQLite raises into errors of ours, and tell errors of ours where they happened."""
        try:
            yield
        except StoreError as failure:
            failure.path = failure.path or str(self.folder)
            failure.series = failure.series or (None if series is None else str(series))
            raise
        except QmtlError:
            raise
        except (sqlite3.Error, UnicodeDecodeError) as failure:
            raise _meaning(failure, self.folder, series, span) from failure


def _size(path: Path) -> int | None:
    """Bytes of a file, or None if it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _as_text(data: bytes) -> str:
    """Damaged text must not stop a reader before it has looked at the checksum."""
    return data.decode(errors="replace")


def keep_entries(folder: Path) -> None:
    """Make new names in a directory durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_full(failure: sqlite3.Error) -> bool:
    """Whether SQLite could not write for want of room. A disk that is full is told as an error of its own."""
    code = getattr(failure, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_WRITE


def _meaning(failure: Exception, folder: Path, series: SeriesId | None, span: Span | None) -> StoreError:
    # Where SQLite cannot even say what is wrong in text, the layout itself is damaged.
    code = getattr(failure, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    kind, what, next_step = _MEANINGS.get(code, (StoreError, "SQLite failed", "run `qmtl store verify`"))
    return kind(
        what, path=folder, series=series, span=span, why=f"SQLite says: {failure}", next_step=next_step
    )


_MEANINGS: dict[int, tuple[type[StoreError], str, str]] = {
    sqlite3.SQLITE_FULL: (
        StoreError,
        "there is no room left for the store",
        "free some space and repeat; nothing of this write was kept",
    ),
    sqlite3.SQLITE_IOERR: (
        StoreError,
        "the disk of the store refuses to be read or written",
        "check the disk and its free space, then repeat; nothing of this write was kept",
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
