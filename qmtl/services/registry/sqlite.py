"""The rows of a registry in one SQLite file: durable before anybody is answered, and never half there."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from urllib.parse import quote

from qmtl.foundation.errors import SchemaRegistryError, StoreCorruptError, StoreError
from qmtl.foundation.local_paths import folder_path
from qmtl.foundation.schema.registry.storage import Record, RegistryView, SchemaRow, Setting, VersionRow
from qmtl.runtime.io.sql.sqlite.connections import Connections
from qmtl.runtime.io.sql.sqlite.locks import CommitLock, newest_commit
from qmtl.services.registry.layout import columns_of, lay_out, schema_in

DATABASE = "registry.sqlite"
LOCK = "registry.lock"

# SQLite keeps what was committed but not yet moved into the main file in this one.
_LOG = DATABASE + "-wal"

# A registration takes milliseconds; a longer wait means a program that hangs.
_TURN_S = 10.0

_SCHEMA = "SELECT id, identity, text, type, refs FROM schema WHERE "
_VERSION = "SELECT subject, version, schema, deleted FROM version WHERE "
# How many transactions have changed something since the file was made.
_COUNT = "SELECT value FROM record WHERE kind = 'registry' AND subject = '' AND key = 'transactions'"
_SET_COUNT = "REPLACE INTO record VALUES ('registry', '', 'transactions', ?)"


class SqliteStorage:
    """A `RegistryStorage` in the folder `path`, which is made if it is not there.

    Several processes of one machine may use the folder at once. The disk must be a local one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.abspath(folder_path(path, "a store of schemas")))
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as failure:
            raise StoreError(
                "the folder of the registry cannot be used",
                path=self.path,
                why=str(failure),
                next_step="name a folder that this user may make and write",
            ) from failure
        self._lock = CommitLock(self.path / LOCK, timeout_s=_TURN_S)
        self._pool = Connections(self._connect, self._closing)
        try:
            self._refuse_empty_without_lock()
            with self._lock.acquired():
                self._open()
        except sqlite3.Error as failure:
            self.close()
            damaged = failure.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
            kind = StoreCorruptError if damaged else StoreError
            raise kind(
                f"{DATABASE} is damaged, or no registry" if damaged else "the registry cannot be opened",
                path=self.path,
                why=f"SQLite says: {failure}",
                next_step="bring the file back from a backup, or name another folder"
                if damaged
                else "give this user the right to write to the folder and its files",
            ) from failure
        except BaseException:
            self.close()
            raise

    def _refuse_empty_without_lock(self) -> None:
        # In this order: others may be making the registry meanwhile, lock first, then the file.
        if _size(self.path / DATABASE) == 0 and not (self.path / LOCK).exists():
            raise self._lost(f"{DATABASE} is empty", f"a new one is never made without {LOCK}")

    def _open(self) -> None:
        """Make or recognise the tables; refuse a file that lost what was durable once. Needs the lock."""
        # Before SQLite looks: it would take an empty file for a new one, and throw its log away.
        newest = newest_commit(self.path / LOCK)
        database = _size(self.path / DATABASE)
        if not database:
            state = f"{DATABASE} is {'missing' if database is None else 'empty'}, and was not always"
            if newest is not None:
                raise self._lost(state, f"{LOCK} says that {newest:,} transactions were durable")
            if _size(self.path / _LOG):
                raise self._lost(state, f"{_LOG} holds transactions that belong to it")
        with self._pool.use() as connection:
            is_laid_out = bool(connection.execute("PRAGMA application_id").fetchone()[0])
            if newest is not None and not is_laid_out:
                raise self._lost(f"{DATABASE} holds nothing any more", f"{_LOG} is lost")
            lay_out(connection, self.path / DATABASE)
            count = _count(connection)
            if count < (newest or 0):
                raise self._lost(
                    "the newest entries of the registry are gone",
                    f"{newest:,} transactions were durable, and {count:,} are there: {_LOG} is lost, or "
                    f"{DATABASE} was replaced by an older one",
                )
            self._lock.note(count)

    def _lost(self, what: str, why: str) -> StoreCorruptError:
        return StoreCorruptError(
            what,
            path=self.path,
            why=why,
            next_step=f"bring {DATABASE} and {_LOG} back, or a backup; to go on without what is lost, remove "
            f"{LOCK}, and {DATABASE} if it is empty: ids that were given out may then be given out again",
        )

    @contextmanager
    def reading(self) -> Iterator[RegistryView]:
        """See `RegistryStorage.reading`. Never waits for a writer."""
        with _as_registry_error(self.path), self._pool.use() as connection:
            connection.execute("BEGIN")
            yield _View(connection)

    @contextmanager
    def writing(self) -> Iterator[RegistryView]:
        """See `RegistryStorage.writing`. Waits 10 s at most for another writer."""
        with _as_registry_error(self.path), self._pool.use() as connection, self._lock.acquired():
            connection.execute("BEGIN IMMEDIATE")
            before = connection.total_changes
            yield _View(connection)
            if connection.total_changes == before:
                connection.execute("COMMIT")
                return
            count = _count(connection) + 1
            connection.execute(_SET_COUNT, (str(count),))
            connection.execute("COMMIT")
            self._lock.note(count)

    def close(self) -> None:
        """Close the file; it may be closed more than once."""
        self._pool.close()
        self._lock.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(self.path / DATABASE))}?mode=rwc",
            uri=True,
            timeout=_TURN_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _closing(self) -> AbstractContextManager[None]:
        # Closing moves the log into the file; SQLite before 3.51.3 may lose a commit that runs beside that.
        return self._lock.acquired() if (self.path / LOCK).exists() else nullcontext()


class _View:
    """See `RegistryView`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._ask = connection.execute

    def schema(self, id: int) -> SchemaRow | None:
        row = self._ask(_SCHEMA + "id = ?", (id,)).fetchone()
        return None if row is None else _schema_row(row)

    def schemas_of(self, identity: str) -> Sequence[SchemaRow]:
        return [_schema_row(row) for row in self._ask(_SCHEMA + "identity = ? ORDER BY id", (identity,))]

    def last_id(self) -> int:
        row = self._ask("SELECT seq FROM sqlite_sequence WHERE name = 'schema'").fetchone()
        return 0 if row is None else int(row[0])

    def add_schema(self, row: SchemaRow) -> None:
        schema = row.schema
        self._ask(
            "INSERT INTO schema VALUES (?, ?, ?, ?, ?)",
            (row.id, row.identity, *columns_of(schema)),
        )
        for reference in schema.references:
            self._ask(
                "INSERT OR IGNORE INTO reference VALUES (?, ?, ?)",
                (reference.subject, reference.version, row.id),
            )

    def remove_schema(self, id: int) -> None:
        self._ask("DELETE FROM schema WHERE id = ?", (id,))
        self._ask("DELETE FROM reference WHERE schema = ?", (id,))

    def subjects(self, prefix: str = "") -> Sequence[tuple[str, bool]]:
        rows = self._ask(
            "SELECT subject, min(deleted) FROM version"
            " WHERE subject >= ?1 AND substr(subject, 1, length(?1)) = ?1 GROUP BY subject ORDER BY subject",
            (prefix,),
        )
        return [(subject, bool(deleted)) for subject, deleted in rows]

    def versions(self, subject: str) -> Sequence[VersionRow]:
        return _version_rows(self._ask(_VERSION + "subject = ? ORDER BY version", (subject,)))

    def latest(self, subject: str, *, deleted: bool) -> VersionRow | None:
        rows = _version_rows(
            self._ask(
                _VERSION + "subject = ? AND deleted <= ? ORDER BY version DESC LIMIT 1", (subject, deleted)
            )
        )
        return rows[0] if rows else None

    def versions_of(self, subject: str, id: int) -> Sequence[VersionRow]:
        return _version_rows(
            self._ask(_VERSION + "schema = ? AND subject = ? ORDER BY version", (id, subject))
        )

    def usages(self, id: int) -> Sequence[VersionRow]:
        return _version_rows(self._ask(_VERSION + "schema = ? ORDER BY subject, version", (id,)))

    def referrers(self, subject: str, version: int) -> Sequence[int]:
        rows = self._ask(
            "SELECT schema FROM reference WHERE subject = ? AND version = ? ORDER BY schema",
            (subject, version),
        )
        return [id for (id,) in rows]

    def put_version(self, row: VersionRow) -> None:
        self._ask("REPLACE INTO version VALUES (?, ?, ?, ?)", row)

    def remove_version(self, subject: str, version: int) -> None:
        self._ask("DELETE FROM version WHERE subject = ? AND version = ?", (subject, version))

    def setting(self, name: Setting, subject: str) -> str | None:
        row = self._ask(
            "SELECT value FROM setting WHERE name = ? AND subject = ?", (name, subject)
        ).fetchone()
        return None if row is None else str(row[0])

    def put_setting(self, name: Setting, subject: str, value: str | None) -> None:
        if value is None:
            self._ask("DELETE FROM setting WHERE name = ? AND subject = ?", (name, subject))
        else:
            self._ask("REPLACE INTO setting VALUES (?, ?, ?)", (name, subject, value))

    def records(self, kind: str, subject: str, *, after: str = "") -> Sequence[Record]:
        rows = self._ask(
            "SELECT kind, subject, key, value FROM record WHERE kind = ? AND subject = ? AND key > ?"
            " ORDER BY key",
            (kind, subject, after),
        )
        return [Record(*row) for row in rows]

    def put_record(self, record: Record) -> None:
        self._ask("REPLACE INTO record VALUES (?, ?, ?, ?)", record)


def _count(connection: sqlite3.Connection) -> int:
    row = connection.execute(_COUNT).fetchone()
    return 0 if row is None else int(row[0])


def _size(path: Path) -> int | None:
    """Bytes of a file, or None if it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _schema_row(row: tuple[int, str, str, str, str]) -> SchemaRow:
    id, identity, text, type_, refs = row
    return SchemaRow(id, identity, schema_in(type_, text, refs))


def _version_rows(rows: sqlite3.Cursor) -> list[VersionRow]:
    return [VersionRow(subject, version, id, bool(deleted)) for subject, version, id, deleted in rows]


_MEANINGS = {
    sqlite3.SQLITE_FULL: ("there is no room left for the registry", "free some space, then repeat"),
    sqlite3.SQLITE_IOERR: (
        "the disk of the registry refuses",
        "check the disk and its free space, then repeat",
    ),
    sqlite3.SQLITE_READONLY: (
        "the registry cannot be written",
        "give the server's user the right to write to the folder and its files",
    ),
    sqlite3.SQLITE_CORRUPT: ("the file of the registry is damaged", "bring it back from a backup"),
    sqlite3.SQLITE_NOTADB: ("the file of the registry is damaged", "bring it back from a backup"),
}


@contextmanager
def _as_registry_error(folder: Path) -> Iterator[None]:
    """Turn what SQLite and the lock raise into 50001. A write that failed changed nothing."""
    try:
        yield
    except StoreError as failure:
        raise SchemaRegistryError(
            failure.what, code=50001, why=failure.why, next_step=failure.next_step
        ) from failure
    except sqlite3.Error as failure:
        code = getattr(failure, "sqlite_errorcode", 0) & 0xFF
        what, next_step = _MEANINGS.get(code, ("the registry cannot be read or written", None))
        raise SchemaRegistryError(
            what, code=50001, why=f"SQLite says: {failure}; nothing was kept of it", next_step=next_step
        ) from failure
