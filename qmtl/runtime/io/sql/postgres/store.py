"""A store in a schema of a PostgreSQL database: threads, processes and machines may use it at once."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from contextlib import closing

import psycopg

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.series import SeriesId
from qmtl.foundation.store_address import StoreAddress
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.sql.appends import Small, keeps_aside
from qmtl.runtime.io.sql.chunks import RowsElsewhere
from qmtl.runtime.io.sql.dialect import Expected
from qmtl.runtime.io.sql.postgres import at_once
from qmtl.runtime.io.sql.postgres.database import VERSION, PostgresDatabase
from qmtl.runtime.io.sql.postgres.failures import meaning
from qmtl.runtime.io.sql.postgres.opening import opened
from qmtl.runtime.io.sql.postgres.recognition import recognise
from qmtl.runtime.io.sql.postgres.rights import Right, grant
from qmtl.runtime.io.sql.postgres.server import ServerState, state_of
from qmtl.runtime.io.sql.presumed import Made
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.io.store.difference import NOTHING_REPLACED
from qmtl.runtime.io.store.values import ChangeToken, Commit, Snapshot, Write


def is_store(address: StoreAddress) -> bool:
    """Whether there is a store at an address. Raises `StoreError` for what is none, and no empty schema."""
    try:
        with closing(opened(address)) as connection:
            return recognise(connection, address).format > 0
    except psycopg.Error as failure:
        raise meaning(failure, address, None, None) from failure


class PostgresStore(KeptStore):
    """A `Store` on PostgreSQL.

    address: such as postgresql://user@host:5432/database?schema=desk. The schema is made if it is missing;
        without one it is `qmtl`. What else is in the address goes to libpq, which also knows ~/.pgpass and
        the PG* variables.
    read_only: refuse every write, and make no schema.
    retention: how many nanoseconds of history `compact` keeps for `as_of`; None keeps all.
    clock: what commits get their time from; None is the clock of the server, the same for all machines.
    lock_timeout_s: how long a write waits for other writers, and whoever it is for a table that somebody
        alters, before `StoreLockedError`.
    max_staleness: seconds for which `has_changed` may miss the commits of other processes, so that it need
        not ask the server; a connection of its own hears of them. 0 asks each time.
    elsewhere: where the bars of its chunks lie, if this is only the catalog of a store.

    Raises `StoreError` where the database cannot be reached, or refuses.
    """

    def __init__(
        self,
        address: str | StoreAddress,
        *,
        read_only: bool = False,
        clock: Clock | None = None,
        retention: int | None = None,
        lock_timeout_s: float = 30.0,
        max_staleness: float = 0.0,
        elsewhere: RowsElsewhere | None = None,
    ) -> None:
        self._address = address if isinstance(address, StoreAddress) else StoreAddress.parse(address)
        self._database: PostgresDatabase = PostgresDatabase(
            self._address,
            read_only=read_only,
            lock_timeout_s=lock_timeout_s,
            has_clock=clock is None,
            max_staleness=max_staleness,
            elsewhere=elsewhere,
        )
        self.max_staleness, self._notice = max_staleness, self._database.notice
        if self._notice is not None:  # its thread would outlive a store that nobody closes
            weakref.finalize(self, self._notice.close)
        super().__init__(self._database, clock or SystemClock(), retention)

    def commit_many(self, writes: Mapping[SeriesId, Write]) -> dict[SeriesId, Commit]:
        if len(writes) == 1:
            ((series, write),) = writes.items()
            if (done := self._append(series, write)) is not None:
                return {series: done}
        return super().commit_many(writes)

    def _append(self, series: SeriesId, write: Write) -> Commit | None:
        """One bar behind others, if nothing has to be asked before it; None if that is not so."""
        if write.frame.height != 1 or (series, False) not in self._looked_through or keeps_aside(write):
            return None
        rows = self._checked(series, write, None)
        presumed = self._presumptions.append(Small(series, write, rows))
        if presumed is None or not at_once.is_one_bar(made := presumed.made[series]):
            return None
        point = self._database.append(series, presumed, self._clock.now())
        if point is None:
            self._presumptions.forget()
            return None
        self._presumptions.follow({series: Made(made, point.tx)}, presumed.newest, point)
        return Commit(*point, 1, 0, NOTHING_REPLACED.clone(), self._database.at_risk)

    def grant(self, right: Right, role: str) -> list[str]:
        """Let a role read the store, or write it, or neither; the statements that did it.

        Raises `InvalidRequestError` for a role that is unknown or owns the store, `StoreError` for a user who
        does not own it.
        """
        with self._database.writing() as connection:
            done = grant(connection, self._address.schema, right, role)
            connection.execute("COMMIT")
        return done

    def server(self) -> ServerState:
        """What the server is, as this user may see it."""
        with self._database.reading() as connection:
            return state_of(connection)

    def read_if_current(
        self,
        token: ChangeToken,
        series: SeriesId,
        span: Span,
        *,
        context: int = 0,
        cancelled: Callable[[], bool] | None = None,
        flags_by: bytes | None = None,
    ) -> Snapshot | None:
        by = {} if flags_by is None else {series: flags_by}
        expected = Expected(VERSION, token.version)
        return self._read([series], span, None, context, cancelled, by, expected).get(series)

    def has_changed(self, token: ChangeToken) -> bool:
        """False if the server said so within `max_staleness`; else `changed_since` has to ask it."""
        return self._notice is None or not self._notice.vouches_for(token.version)

    def __repr__(self) -> str:
        return f"PostgresStore({self._address.shown!r}{', read_only=True' if self.read_only else ''})"
