"""A copy that is made in a schema: in another one first, from where its tables move once it is complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from psycopg.errors import LockNotAvailable

from qmtl.foundation.errors import InvalidRequestError, StoreError, StoreLockedError
from qmtl.foundation.store_address import StoreAddress
from qmtl.runtime.io.sql.copying import what_is_in
from qmtl.runtime.io.sql.dialect import Connection
from qmtl.runtime.io.sql.postgres.connection import PostgresConnection
from qmtl.runtime.io.sql.postgres.database import PostgresDatabase
from qmtl.runtime.io.sql.postgres.layout import NUMBERED, TABLES, quoted
from qmtl.runtime.io.sql.postgres.opening import opened
from qmtl.runtime.io.sql.postgres.recognition import recognise
from qmtl.runtime.io.store.values import Point

# What follows the name of a schema in that of its unfinished copy, which stays when a copy ends early.
_SUFFIX = "_unfinished"
_LOCK_S = 30.0
# How long another copy may take to end, in seconds: longer than the server takes to end a killed one.
_PATIENCE_S = 5


class SchemaTarget:
    """Implements `Target`."""

    def __init__(self, address: StoreAddress, database: PostgresDatabase) -> None:
        self._address, self.database = address, database

    @property
    def location(self) -> str:
        return self._address.shown

    def complete(self, connection: Connection, newest: Point) -> None:
        """In one transaction with what was written last. Its tables move; the rights of a schema stay."""
        assert isinstance(connection, PostgresConnection)
        for table, column in NUMBERED.items():
            # Numbers that are given go on behind those that were copied.
            connection.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), max({column})) FROM {table}"
            )
        place = quoted(self._address.schema)
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {place}")
        for table in TABLES:
            connection.execute(f"ALTER TABLE {table} SET SCHEMA {place}")
        connection.execute(f"DROP SCHEMA {quoted(self.database.address.schema)}")
        connection.execute("COMMIT")


@contextmanager
def copy_target(address: StoreAddress, source: StoreAddress | None) -> Iterator[SchemaTarget]:
    """The target of a copy into a schema, which is missing or empty.

    source: the address that is copied, if it is one. Raises `InvalidRequestError` for a schema that holds a
    store, `StoreLockedError` while another copy is made there, and `StoreError` where nothing can be written.
    """
    if source is not None and source.shown == address.shown:
        raise InvalidRequestError(
            f"the copy and the store are the same schema, {address}",
            next_step="name another schema: ?schema=NAME",
        )
    beside = address.with_schema(address.schema + _SUFFIX)
    with closing(opened(address)) as connection:
        found = recognise(connection, address)
        if found.format:
            with closing(PostgresDatabase(address, read_only=True, lock_timeout_s=_LOCK_S)) as there:
                raise InvalidRequestError(
                    f"there is a store at {address} already",
                    why=what_is_in(there),
                    next_step="name another schema: ?schema=NAME",
                )
        if found.refuses_writes:
            raise StoreError(
                "nothing can be copied there",
                path=address.shown,
                why=found.refuses_writes,
                next_step="connect to a primary server, as a user with the right to write",
            )
        _be_alone(connection, address)
        with closing(PostgresDatabase(beside, read_only=False, lock_timeout_s=_LOCK_S)) as database:
            yield SchemaTarget(address, database)


def _be_alone(connection: PostgresConnection, address: StoreAddress) -> None:
    """Lock other copies out for as long as this session lasts. Raises `StoreLockedError`."""
    # The server takes a moment to notice that a process was killed, and that its session has ended.
    connection.execute(f"SET lock_timeout = '{_PATIENCE_S}s'")
    try:
        connection.execute(
            "SELECT pg_advisory_lock(hashtextextended(?, 0))", (f"qmtl copy {address.schema}",)
        )
    except LockNotAvailable as failure:
        raise StoreLockedError(
            "another copy is being made there", path=address.shown, next_step="wait until it has ended"
        ) from failure
