"""A store in one directory, without a server: many threads and processes may read and write it at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.local_paths import folder_path
from qmtl.runtime.io.sql.sqlite.dialect import SqliteConnection
from qmtl.runtime.io.sql.sqlite.directory import StoreDirectory
from qmtl.runtime.io.sql.upkeep import KeptStore


class EmbeddedStore(KeptStore):
    """A `Store` on one SQLite file of packed chunks, and the care that such a file needs.

    path: a directory, made if it is missing. Raises `StoreError` if it cannot be one, and
        `InvalidRequestError` for an address such as s3://bucket.
    read_only: refuse every write, and make no directory.
    retention: how many nanoseconds of history `compact` keeps for `as_of`; None keeps all.
    lock_timeout_s: how long a write waits for other writers before `StoreLockedError`.
    lost_commits_ok: go on with a store whose newest commits are gone; else that is a `StoreCorruptError`.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        read_only: bool = False,
        clock: Clock | None = None,
        retention: int | None = None,
        lock_timeout_s: float = 30.0,
        lost_commits_ok: bool = False,
    ) -> None:
        self._directory = StoreDirectory(
            folder_path(path, "a store").expanduser(),
            read_only=read_only,
            lock_timeout_s=lock_timeout_s,
            lost_commits_ok=lost_commits_ok,
        )
        super().__init__(self._directory, clock or SystemClock(), retention)

    @property
    def path(self) -> Path:
        """The directory."""
        return self._directory.folder

    @contextmanager
    def reading_all(self) -> Iterator[SqliteConnection]:
        """A connection that sees the store as it is now, whatever is committed meanwhile."""
        with self._directory.reading() as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            yield connection

    def note_newest(self) -> None:
        """Write down beside the database which commit is its newest, as each commit does."""
        self._directory.note_newest()

    def __repr__(self) -> str:
        return f"EmbeddedStore({str(self.path)!r}{', read_only=True' if self.read_only else ''})"
