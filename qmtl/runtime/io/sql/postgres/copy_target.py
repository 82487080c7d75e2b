"""A copy that is made in a schema: in another one first, from where its tables move once it is complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

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
        # Of this session, and gone with it.
        (is_alone,) = connection.execute(
            "SELECT pg_try_advisory_lock(hashtextextended(?, 0))", (f"qmtl copy {address.schema}",)
        ).fetchone()
        if not is_alone:
            raise StoreLockedError(
                "another copy is being made there", path=address.shown, next_step="wait until it has ended"
            )
        with closing(PostgresDatabase(beside, read_only=False, lock_timeout_s=_LOCK_S)) as database:
            yield SchemaTarget(address, database)
