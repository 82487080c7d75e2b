"""Where a store lives: how its directory is opened, locked and left."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from urllib.parse import quote
from uuid import NAMESPACE_OID, uuid5

from qmtl.foundation.errors import QmtlError, StoreCorruptError, StoreError, StoreLockedError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.sql.catalogs import settle_rows
from qmtl.runtime.io.sql.chunks import RowsElsewhere
from qmtl.runtime.io.sql.dialect import Connection, Dialect, Foreseen
from qmtl.runtime.io.sql.formats import older
from qmtl.runtime.io.sql.sqlite.connections import Connections
from qmtl.runtime.io.sql.sqlite.dialect import SQLITE, SqliteConnection
from qmtl.runtime.io.sql.sqlite.failures import is_full, meaning
from qmtl.runtime.io.sql.sqlite.layout import (
    DATABASE,
    FORMAT,
    LOCK,
    LOG,
    PAGE_BYTES,
    bring_up_to_date,
    create,
    format_of,
    read_as_today,
    shard_steps,
    store_id,
)
from qmtl.runtime.io.sql.sqlite.locks import CommitLock, UseLock
from qmtl.runtime.io.sql.sqlite.opened_file import OpenedFile
from qmtl.runtime.io.sql.sqlite.proofs import prove_what_is_written
from qmtl.runtime.io.sql.sqlite.recognition import inspect, recognise, unusable
from qmtl.runtime.io.store.fencing import SHARD_STEPS
from qmtl.runtime.io.store.rows import ROW_BYTES
from qmtl.runtime.io.store.values import Point

# A bar for each of a thousand series touches more pages than fit into the 2 MB that SQLite keeps by itself.
_CACHE_BYTES = 16 * 2**20
# The log is cut back to this size once a large commit has been moved into the main file.
_LOG_BYTES = 64 * 2**20


# What SQLite takes at least for the index of the log, through which it reads what is in there.
_INDEX_BYTES = 32 * 2**10
# So many unused pages are given back to the file system before others get their turn.
PAGES_AT_ONCE = 2_048


class StoreDirectory:
    """The directory of one store, its connections and its lock."""

    at_risk: str | None = None  # each COMMIT waits for the disk

    def __init__(
        self,
        folder: Path,
        *,
        read_only: bool,
        lock_timeout_s: float,
        lost_commits_ok: bool = False,
        migrates: bool = False,
        elsewhere: RowsElsewhere | None = None,
    ) -> None:
        """migrates: let a store of an older format become one of today's, if nobody else has it open.

        elsewhere: where the bars of its chunks lie; a folder that has begun without cannot go on with it, nor
            the other way round.
        """
        self.folder = Path(os.path.abspath(folder))
        self.read_only = read_only
        self._lock_timeout_s = lock_timeout_s
        self._closed = False
        self._immutable: tuple[int, ...] | None = None
        self._file = OpenedFile(self.folder / DATABASE)
        self._no_room: sqlite3.Error | None = None  # why what could be written is only read
        self._making_writable = threading.Lock()
        self.shard_steps, self._store_id = SHARD_STEPS, ""
        self._lost_commits_ok, self._migrates = lost_commits_ok, migrates
        self._elsewhere = elsewhere
        self.format_before = 0
        self._use = self._enter()
        self.lock = CommitLock(self.folder / LOCK, timeout_s=lock_timeout_s)
        self._pool = Connections(self._connect, self._closing)
        self._watch = Connections(self._connect, self._closing, limit=1)
        try:
            self._newest, self.read_only = inspect(self.folder, read_only=read_only)
            with self.translated():
                self._settle_or_only_read()
            self._file.remember()
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
            return UseLock(folder, alone=self._migrates, timeout_s=self._lock_timeout_s)
        except OSError as failure:
            raise unusable(folder, failure) from failure

    def _settle_or_only_read(self) -> None:
        """On a full disk a store cannot be opened for writing, but what it holds can be read."""
        try:
            self._settle()
        except sqlite3.OperationalError as failure:
            if self.read_only or not is_full(failure) or not (self.folder / DATABASE).exists():
                raise
            self._no_room, self.read_only = failure, True
            self._reconnect()
            self._settle()
        else:
            self._no_room = None

    def _write_if_there_is_room_again(self) -> None:
        """A store that was opened on a full disk is opened for writing once something was freed."""
        with self._making_writable:
            # Readers would meet a full disk too while this is tried, so it is not tried in vain.
            if self._no_room is None or shutil.disk_usage(self.folder).free < _INDEX_BYTES:
                return
            self.read_only = False
            self._reconnect()
            with self.translated():
                self._settle_or_only_read()

    def _reconnect(self) -> None:
        """Let all that follows use new connections."""
        self._immutable = None
        self._watch.close()
        self._pool.close()

    def _settle(self) -> None:
        """Lay out a new file; refuse a foreign one, an older one, or one that lost commits."""
        with self._pool.use() as connection:
            found = recognise(connection, self.folder)
            if self._newest is not None:
                self._refuse_loss(connection, found)
            if self.read_only and not found:
                raise StoreError("the store is empty, and was never laid out", path=self.folder)
            self.format_before = found
            if found < FORMAT and not self.read_only:
                if found and not self._migrates:
                    raise older(found, FORMAT, self.folder)
                self._lay_out(connection)
            self.shard_steps, self._store_id = shard_steps(connection), store_id(connection)
            if not self._migrates:
                settle_rows(
                    connection, self.location, self.writing, are_elsewhere=self._elsewhere is not None
                )
        if found and self._newest is None and not self.read_only:
            with suppress(StoreLockedError):  # who has the lock commits, and notes that
                self.note_newest()

    @property
    def location(self) -> str:
        """The directory."""
        return str(self.folder)

    @property
    def store_id(self) -> str:
        """Who the store is. Raises `StoreError` for one of an older format, which has no id yet."""
        if not self._store_id:
            raise StoreError(
                "the store has no id yet",
                path=self.folder,
                why="its format is older, and a store gets its id when it is migrated",
                next_step=f"qmtl --store '{self.folder}' store migrate",
            )
        return self._store_id

    @property
    def place_id(self) -> str:
        """As `store_id`, of this directory alone: a copy of it has another one."""
        of = self.folder.stat()
        return str(uuid5(NAMESPACE_OID, f"{self.store_id} {of.st_dev} {of.st_ino}"))

    def _refuse_loss(self, connection: SqliteConnection, found: int) -> None:
        """Raise `StoreCorruptError` if commits are gone that were durable once."""
        last = 0
        if found:
            (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM tx").fetchone()
        if found and last >= (self._newest or 0):
            return
        if found and self._lost_commits_ok:
            with self.lock.acquired():
                self.lock.note(last)
            self._newest = last
            return
        raise StoreCorruptError(
            "the newest commits of the store are gone",
            path=self.folder,
            why=f"commit {self._newest} was durable, and the newest one there is {last}: {LOG} is lost, or "
            f"{DATABASE} was replaced by an older one",
            next_step=f"bring {LOG} back, or a backup (`qmtl store restore`); "
            "`qmtl store verify --acknowledge` goes on without these commits",
        )

    def note_newest(self) -> None:
        """Write down which commit is the newest."""
        with self.translated(), self._pool.use() as connection, self.lock.acquired():
            (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM tx").fetchone()
            self.lock.note(last)

    def commit(self, connection: Connection, newest: Point) -> None:
        """Make a commit durable, and write down that it is. Only inside `writing`."""
        connection.execute("COMMIT")
        self.lock.note(newest.tx)

    def _lay_out(self, connection: SqliteConnection) -> None:
        from qmtl.foundation.durable import make_durable  # once in the life of a store

        with self.lock.acquired():
            found = recognise(connection, self.folder)  # another process may have been quicker
            if not found:
                create(connection)
                for folder in (self.folder, self.folder.parent):
                    make_durable(folder)
                self.lock.note(0)
            elif found < FORMAT:
                bring_up_to_date(connection)

    # Connections

    def _connect(self) -> SqliteConnection:
        connection = self._connected()
        try:
            if self.read_only:
                read_as_today(connection)
            self._file.refuse_another()  # since it was last looked at
        except (sqlite3.Error, StoreError):
            connection.close()
            raise
        return connection

    def _connected(self) -> SqliteConnection:
        if not (self.read_only or (self.folder / DATABASE).exists() or (self.folder / LOCK).exists()):
            # Before the database: an empty one without a lock beside it was never made here.
            with self.lock.acquired():
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
            forbidden = failure.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
            if not (forbidden or is_full(failure)):
                raise
            # The log has no index, and none can be made here. Without a log none is needed.
            log = self.folder / LOG
            if log.exists() and log.stat().st_size:
                if not forbidden:
                    raise StoreError(
                        "the disk is full, and the newest commits cannot be read",
                        path=self.folder,
                        why=f"they are still in {LOG}, whose index takes {_INDEX_BYTES:,} bytes on the disk, "
                        f"and {shutil.disk_usage(self.folder).free:,} bytes are free",
                        next_step=f"free {_INDEX_BYTES:,} bytes and repeat; nothing is lost",
                    ) from failure
                raise StoreError(
                    "the newest commits cannot be read from a directory that cannot be written",
                    path=self.folder,
                    why=f"they are still in {LOG}, which must first be moved into {DATABASE}",
                    next_step="open the store once where it can be written, or copy the directory",
                ) from failure
            self._immutable = self._stamp()
            connection = self._open(f"file:{name}?mode=ro&immutable=1")
        return connection

    def _open(self, uri: str) -> SqliteConnection:
        connection = sqlite3.connect(
            uri,
            uri=True,
            timeout=self._lock_timeout_s,
            isolation_level=None,
            check_same_thread=False,
            factory=SqliteConnection,
        )
        connection.elsewhere = self._elsewhere
        return connection

    def _closing(self) -> AbstractContextManager[None]:
        # Without the lock's file no store was ever laid out here, and nothing is to be left behind.
        ours = not self.read_only and self._file.is_there and (self.folder / LOCK).exists()
        return self.lock.acquired() if ours else nullcontext()

    def _stamp(self) -> tuple[int, ...]:
        state = (self.folder / DATABASE).stat()
        log = self.folder / LOG
        return (state.st_mtime_ns, state.st_size, state.st_ino, log.stat().st_size if log.exists() else 0)

    # Use

    @property
    def dialect(self) -> Dialect:
        return SQLITE

    @contextmanager
    def reading(
        self,
        series: SeriesId | None = None,
        span: Span | None = None,
        *,
        foreseen: Sequence[Foreseen] = (),
        is_all: bool = False,
        compares_version: bool = False,
    ) -> Iterator[SqliteConnection]:
        """A connection inside a transaction that ends with the block."""
        self._ready()
        self._file.refuse_another()
        with self.translated(series, span), self._pool.use() as connection:
            connection.execute("BEGIN")
            yield connection

    @contextmanager
    def writing(
        self,
        series: SeriesId | None = None,
        *,
        timeout_s: float | None = None,
        is_durable: bool = True,
        foreseen: Sequence[Foreseen] = (),
    ) -> Iterator[SqliteConnection]:
        """A connection inside `BEGIN IMMEDIATE`, under the lock. Without a COMMIT all is rolled back.

        is_durable: with False a COMMIT does not wait for the disk. The next one that does takes it along.
        """
        self.refuse_unwritable(series)
        self._file.refuse_another()
        with self.translated(series), self._pool.use() as connection, self.lock.acquired(timeout_s):
            _make_ready(connection)
            if not is_durable:
                connection.execute("PRAGMA synchronous = NORMAL")
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
            finally:
                if not is_durable:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    connection.execute("PRAGMA synchronous = FULL")

    def refuse_unwritable(self, series: SeriesId | None = None) -> None:
        """Raise `StoreError` if the store cannot be written."""
        self._ready()
        if self._no_room is not None:
            self._write_if_there_is_room_again()
        if self._no_room is not None:
            raise StoreError(
                "there is no room left for the store",
                path=self.folder,
                series=series,
                why="its disk was full when it was opened; what it holds can be read, and "
                f"{shutil.disk_usage(self.folder).free:,} bytes are free now",
                next_step="free some space and repeat",
            ) from self._no_room
        if self.read_only:
            raise StoreError(
                "the store cannot be written",
                path=self.folder,
                series=series,
                why="it was opened read-only, or its directory or file cannot be written",
                next_step="open it for writing, or give this user the right to write there",
            )

    def version(self) -> int:
        """A number that differs after each commit; its connection never writes, and so sees those of all."""
        self._ready()
        self._file.glance()
        try:
            (number,) = self._watch.glance("PRAGMA data_version")
        except sqlite3.Error as failure:
            with self.translated():  # asked for at each fetch from a cache, so only a failure pays for it
                raise failure
        return (self._watch.generation << 40) + int(number)

    def format(self) -> int:
        """The format of the file."""
        with self.reading() as connection:
            return format_of(connection)

    def size(self) -> int:
        """Bytes of the files in the directory."""
        total = 0
        for entry in self.folder.iterdir():
            # The log comes and goes with the processes that use the store.
            with suppress(FileNotFoundError):
                total += entry.stat().st_size
        return total

    def is_full(self, failure: BaseException | None) -> bool:
        """Whether an error of SQLite tells that there is no room left."""
        return isinstance(failure, sqlite3.OperationalError) and is_full(failure)

    def no_room(self, rows: int) -> StoreError:
        """The error of a compaction on a full disk, with what it needs to make so many rows anew at once."""
        # New chunks lie in the log first, and then in the file too; so do pages that are moved to shorten it.
        needed = 2 * max(rows * ROW_BYTES, PAGES_AT_ONCE * PAGE_BYTES)
        free = shutil.disk_usage(self.folder).free
        return StoreError(
            "there is no room left to compact the store",
            path=self.folder,
            why=f"it needs up to {needed:,} bytes beside {DATABASE} while it works, "
            f"and {free:,} bytes are free",
            next_step="free so much and repeat; what was compacted stays, and nothing is lost",
        )

    def shrink(self) -> str:
        """Give unused pages back to the file system, and cut the log to nothing if nobody reads it."""
        free = PAGES_AT_ONCE
        while free >= PAGES_AT_ONCE:
            with self.translated(), self._pool.use() as connection, self.lock.acquired():
                # As a script: `execute` would stop after the first page.
                connection.executescript(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})")
                (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        with self.translated(), self._pool.use() as connection, self.lock.acquired():
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return ""

    def close(self) -> None:
        """Close all connections. The store cannot be used afterwards; a second call does nothing."""
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
            # Somebody who may write has written; SQLite was opened as if nobody would.
            self._reconnect()

    @contextmanager
    def translated(self, series: SeriesId | None = None, span: Span | None = None) -> Iterator[None]:
        """Turn what SQLite raises into errors of ours, and name in errors of ours where they happened."""
        try:
            yield
        except StoreError as failure:
            failure.path = failure.path or str(self.folder)
            failure.series = failure.series or (None if series is None else str(series))
            raise
        except QmtlError:
            raise
        except (sqlite3.Error, UnicodeDecodeError) as failure:
            raise meaning(failure, self.folder, series, span) from failure


def _make_ready(connection: SqliteConnection) -> None:
    """Let a connection write: with checksums, and with room in memory for the pages of many series."""
    if not connection.proves:
        connection.execute(f"PRAGMA cache_size = -{_CACHE_BYTES // 1024}")
        prove_what_is_written(connection)
