"""A copy that is made in a schema: in another one first, from where its tables move once it is complete."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial

from psycopg.errors import LockNotAvailable

from qmtl.foundation.errors import InvalidRequestError, StoreError, StoreLockedError
from qmtl.foundation.store_address import NAME_BYTES, StoreAddress
from qmtl.runtime.io.sql.chunks import RowsElsewhere
from qmtl.runtime.io.sql.copying import what_is_in
from qmtl.runtime.io.sql.dialect import Connection
from qmtl.runtime.io.sql.postgres.connection import PostgresConnection
from qmtl.runtime.io.sql.postgres.database import PostgresDatabase
from qmtl.runtime.io.sql.postgres.layout import NUMBERED, TABLES, quoted
from qmtl.runtime.io.sql.postgres.opening import for_a_while
from qmtl.runtime.io.sql.postgres.recognition import recognise
from qmtl.runtime.io.sql.postgres.rights import Right, holders, refuse_others, statements
from qmtl.runtime.io.store.values import Point

# What follows the name of a schema in that of its unfinished copy, which stays when a copy ends early.
_SUFFIX = "_unfinished"
_LOCK_S = 30.0
# How long another copy may take to end, in seconds: longer than the server takes to end a killed one.
_PATIENCE_S = 5


def unfinished(schema: str) -> str:
    """The name of the schema that a copy is made in. Of a long name the server would cut the suffix."""
    whole = schema + _SUFFIX
    if len(whole.encode()) <= NAME_BYTES:
        return whole
    number = f"_{zlib.crc32(schema.encode()):08x}{_SUFFIX}"
    kept = schema.encode()[: NAME_BYTES - len(number)].decode(errors="ignore")
    return f"{kept}{number}"


class SchemaTarget:
    """Implements `Target`."""

    def __init__(
        self, address: StoreAddress, database: PostgresDatabase, held: dict[str, Right] | None
    ) -> None:
        """held: the rights of roles to the store that is replaced; None if there is none."""
        self._address, self.database, self._held = address, database, held

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
        if self._held is not None:
            for table in TABLES:
                connection.execute(f"DROP TABLE IF EXISTS {place}.{table}")
        for table in TABLES:
            connection.execute(f"ALTER TABLE {table} SET SCHEMA {place}")
        connection.execute(f"DROP SCHEMA {quoted(self.database.address.schema)}")
        for role, right in (self._held or {}).items():
            for statement in statements(self._address.schema, right, role):
                connection.execute(statement)
        connection.execute("COMMIT")


@contextmanager
def copy_target(
    address: StoreAddress,
    source: StoreAddress | None,
    *,
    replace: bool = False,
    elsewhere: RowsElsewhere | None = None,
) -> Iterator[SchemaTarget]:
    """The target of a copy into a schema, which is missing or empty.

    source: the address that is copied, if it is one. replace: whether the schema may hold a store, which the
    copy replaces. elsewhere: where bars go, if only the catalog is made here.

    Raises `InvalidRequestError` for a store that is in the way, `StoreLockedError` while another copy is made
    there, or somebody uses what is replaced, and `StoreError` where nothing can be written.
    """
    if source is not None and source.shown == address.shown:
        raise InvalidRequestError(
            f"the copy and the store are the same schema, {address}",
            next_step="name another schema: ?schema=NAME",
        )
    beside = address.with_schema(unfinished(address.schema))
    with for_a_while(address, alone=replace) as connection:
        _be_alone(connection, address)
        found = recognise(connection, address)
        held = None
        if found.format and replace:
            refuse_others(connection)
            held = holders(connection)
        elif found.format:
            raise InvalidRequestError(
                f"there is a store at {address} already",
                why=what_is_in(partial(PostgresDatabase, address, read_only=True, lock_timeout_s=_LOCK_S)),
                next_step="name another schema: ?schema=NAME; or let it go: `store restore --replace`",
            )
        if found.refuses_writes:
            raise StoreError(
                "nothing can be copied there",
                path=address.shown,
                why=found.refuses_writes,
                next_step="connect to a primary server, as a user with the right to write",
            )
        with closing(
            PostgresDatabase(beside, read_only=False, lock_timeout_s=_LOCK_S, elsewhere=elsewhere)
        ) as database:
            yield SchemaTarget(address, database, held)


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
