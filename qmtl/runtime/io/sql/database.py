"""What an engine gives to the store that is built on it: connections, transactions, who the store is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.sql.appended_rows import write_all
from qmtl.runtime.io.sql.appends import Append
from qmtl.runtime.io.sql.commits import certainly_new, newest
from qmtl.runtime.io.sql.dialect import Connection, Dialect, Foreseen, Question
from qmtl.runtime.io.sql.transaction import Transaction
from qmtl.runtime.io.store.point_in_time import following
from qmtl.runtime.io.store.values import Point


class Database(Protocol):
    """One open database. Its methods turn failures of the engine into a `StoreError`."""

    @property
    def read_only(self) -> bool: ...
    @property
    def store_id(self) -> str: ...
    @property
    def place_id(self) -> str: ...
    @property
    def shard_steps(self) -> int: ...
    @property
    def location(self) -> str: ...
    @property
    def folder(self) -> Path | None: ...
    @property
    def dialect(self) -> Dialect: ...
    @property
    def at_risk(self) -> str | None:
        """Why a loss of power may take commits of `commit`; None where they wait for the disk."""
        ...

    def reading(
        self,
        series: SeriesId | None = None,
        span: Span | None = None,
        *,
        foreseen: Sequence[Foreseen] = (),
        is_all: bool = False,
        compares_version: bool = False,
    ) -> AbstractContextManager[Connection]:
        """A connection in a transaction whose statements all see the same commits; it ends with the block.

        foreseen: what will probably be asked before anything is written. A server is asked all of it as the
        transaction begins; what is asked otherwise is answered all the same, later.
        is_all: nothing else will be asked, so that a server ends the transaction with its answers, in one
        trip. Whoever does ask gets a `NotForeseenError`; where no server is asked, the answer.
        compares_version: the block finds out by `version` whether all is as it was; else a server is asked
        whether the tables are still the same.
        """
        ...

    def writing(
        self,
        series: SeriesId | None = None,
        *,
        timeout_s: float | None = None,
        is_durable: bool = True,
        foreseen: Sequence[Foreseen] = (),
    ) -> AbstractContextManager[Connection]:
        """A connection in a transaction, with other writers locked out. Without a COMMIT all is undone.

        is_durable: False for what may be lost with the power; then no disk is waited for. foreseen: as for
        `reading`; it is asked once the others are locked out.
        """
        ...

    def version(self) -> int:
        """A number that differs after each commit of anybody.

        `SqlStore.has_changed` compares it, so it costs microseconds; the store of an engine that has to ask
        a server for it overrides `has_changed`.
        """
        ...

    def translated(
        self, series: SeriesId | None = None, span: Span | None = None
    ) -> AbstractContextManager[None]:
        """For a block: failures of the engine become a `StoreError`, which names this store."""
        ...

    def commit(self, connection: Connection, newest: Point) -> None:
        """Make what a connection of `writing` has written durable. newest: the last commit that is in it."""
        ...

    def refuse_unwritable(self, series: SeriesId | None = None) -> None:
        """Raise `StoreError` if the store cannot be written."""
        ...

    def format(self) -> int: ...
    def size(self) -> int:
        """Bytes on disk."""
        ...

    def is_full(self, failure: BaseException | None) -> bool:
        """Whether an exception of the engine tells that there is no room left."""
        ...

    def no_room(self, rows: int) -> Exception:
        """The error of a compaction that found no room, while it made so many rows anew at once."""
        ...

    def shrink(self) -> str:
        """Give unused room back; what is left undone, and why, or nothing."""
        ...

    def close(self) -> None: ...


class Side(NamedTuple):
    """One of two databases that are used together, and a connection of it with a transaction."""

    database: Database
    connection: Connection

    def naming(
        self, series: SeriesId | None = None, span: Span | None = None
    ) -> AbstractContextManager[None]:
        """For a block that uses this side alone: what fails in there names it, and not the other one."""
        return self.database.translated(series, span)


@contextmanager
def committing(
    database: Database, series: SeriesId, now: int, *, timeout_s: float | None = None
) -> Iterator[Transaction]:
    """One commit to a series: durable where the block has called `keep`, else as if it had never begun."""
    with committing_many(database, now, series, timeout_s=timeout_s) as batch:
        yield batch.begin(series)


class Batch:
    """Commits to several series in one transaction of a database, one after the other."""

    def __init__(self, connection: Connection, now: int) -> None:
        self.connection = connection
        self._now = now
        self._newest = newest(connection)
        self._open: Transaction | None = None
        self._new: set[SeriesId] = set()
        self._appends: list[tuple[Point, Append]] = []

    @property
    def newest(self) -> Point:
        """The newest commit, of this batch or before it."""
        if self._open is not None and self._open.is_kept:
            self._newest = Point(self._open.tx, self._open.as_of)
        return self._newest

    def expect(self, names: Sequence[SeriesId]) -> None:
        """Commits to these series will begin: look up at once which of them are new."""
        self._new = certainly_new(self.connection, names)

    def begin(self, series: SeriesId) -> Transaction:
        """The next commit; it counts once it is kept."""
        is_new = series in self._new
        self._open = Transaction(self.connection, series, self._now, self.newest, is_new=is_new)
        return self._open

    def append(self, made: Append) -> Point:
        """The next commit, of a write that only appends. It is written with the others, at the end."""
        self._newest, self._open = following(self.newest, self._now), None
        self._appends.append((self._newest, made))
        return self._newest

    def write(self) -> None:
        """Write what was appended."""
        if self._appends:
            write_all(self.connection, self._appends)


@contextmanager
def committing_many(
    database: Database,
    now: int,
    series: SeriesId | None = None,
    *,
    timeout_s: float | None = None,
    foreseen: Sequence[Foreseen] = (),
) -> Iterator[Batch]:
    """Commits to several series; those kept are durable as the block ends.

    A block that raises leaves nothing of any. now: their time, unless the engine has a clock of its own.
    series: the only one, if there is only one. foreseen: what the block will ask first.
    """
    asked = [Question(database.dialect.newest), *foreseen]
    with database.writing(series, timeout_s=timeout_s, foreseen=asked) as connection:
        batch = Batch(connection, now if connection.now is None else connection.now)
        before = batch.newest
        yield batch
        if batch.newest != before:
            batch.write()
            database.commit(connection, batch.newest)
