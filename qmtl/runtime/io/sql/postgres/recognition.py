"""Whether a schema holds a store, and of which format; and who the store is."""

from __future__ import annotations

from typing import NamedTuple
from uuid import NAMESPACE_OID, uuid5

from qmtl.foundation.errors import StoreCorruptError, StoreError
from qmtl.foundation.store_address import StoreAddress
from qmtl.runtime.io.sql.formats import refuse_newer
from qmtl.runtime.io.sql.postgres import timeline
from qmtl.runtime.io.sql.postgres.alterations import altered_columns
from qmtl.runtime.io.sql.postgres.connection import PostgresConnection
from qmtl.runtime.io.sql.postgres.failures import damaged_layout
from qmtl.runtime.io.sql.postgres.layout import APPLICATION_ID, FORMAT, quoted, statements
from qmtl.runtime.io.sql.postgres.rights import Right, lacking

# Since this version a transaction can be looked for by its number.
_OLDEST = 130_000


class Identity(NamedTuple):
    """Who the store is, and in this very place; how many grid steps make a shard; its format."""

    store_id: str
    place_id: str
    shard_steps: int
    format: int


class Found(NamedTuple):
    """format: 0 where the schema is missing or empty. refuses_writes: why nothing can be written; else ""."""

    format: int
    refuses_writes: str


def recognise(connection: PostgresConnection, address: StoreAddress) -> Found:
    """Raises for what is not ours to read."""
    if connection.raw.info.server_version < _OLDEST:
        raise StoreError(
            f"PostgreSQL is older than version {_OLDEST // 10_000}",
            path=address.shown,
            why=f"the server says {connection.raw.info.parameter_status('server_version')}",
            next_step="update the server",
        )
    encoding, is_replica, is_read_only, tables, marks = connection.execute(
        "SELECT current_setting('server_encoding'), pg_is_in_recovery(),"
        " current_setting('default_transaction_read_only') = 'on',"
        " (SELECT count(*) FROM pg_class WHERE relnamespace = space.oid AND relkind IN ('r', 'p', 'v', 'm')),"
        " (SELECT count(*) FROM pg_class WHERE relnamespace = space.oid"
        " AND relname IN ('setting', 'identity', 'tx'))"
        " FROM (SELECT to_regnamespace(?) AS oid) AS space",
        (quoted(address.schema),),
    ).fetchone()
    if encoding != "UTF8":
        raise StoreError(
            "the database cannot hold every text",
            path=address.shown,
            why=f"its encoding is {encoding}",
            next_step="create one with the encoding UTF8: createdb -E UTF8 -T template0 NAME",
        )
    refuses = ""
    if is_replica:
        refuses = "the server is a replica in recovery"
    elif is_read_only:
        refuses = "the server lets this user only read (default_transaction_read_only)"
    if not tables:
        return Found(0, refuses)
    if marks < 3:
        raise _foreign(address, f"the schema {address.schema} has {tables} other tables")
    if lacks := _lacks_to_begin(connection, address):
        raise _unreadable(connection, address, lacks)
    settings = dict(connection.execute("SELECT name, value FROM setting").fetchall())
    if settings.get("application") != APPLICATION_ID or "format" not in settings:
        raise _foreign(address, "its table `setting` does not say that it is one of qmtl")
    version = int(settings["format"])
    refuse_newer(version, FORMAT, address.shown)
    if version < FORMAT:
        return Found(version, refuses)  # whatever tables it has
    if altered := list(altered_columns(connection)):
        raise damaged_layout(address, altered)
    if lacks := lacking(connection, Right.reader):
        raise _unreadable(connection, address, lacks)
    if not refuses and (lacks := lacking(connection, Right.writer)):
        refuses = f"{_user(connection)} has no right to write it: {lacks} is missing"
    return Found(version, refuses)


def _lacks_to_begin(connection: PostgresConnection, address: StoreAddress) -> str:
    """Which right is missing even to ask for the format; "" if none."""
    # Without the right to use a schema, nothing in it can even be named.
    (lacks,) = connection.execute(
        "SELECT CASE"
        " WHEN NOT has_schema_privilege(to_regnamespace(?)::oid, 'USAGE') THEN 'USAGE on the schema'"
        " WHEN NOT has_table_privilege('setting', 'SELECT') THEN 'SELECT on the table setting' ELSE '' END",
        (quoted(address.schema),),
    ).fetchone()
    return str(lacks)


def _unreadable(connection: PostgresConnection, address: StoreAddress, lacks: str) -> StoreError:
    user = _user(connection)
    return StoreError(
        f"{user} has no right to read the store",
        path=address.shown,
        why=f"{lacks} is missing",
        next_step=f"let its owner give the right: qmtl store grant reader {user}; or connect as another user",
    )


def _user(connection: PostgresConnection) -> str:
    return str(connection.execute("SELECT current_user::text").fetchone()[0])


def _foreign(address: StoreAddress, why: str) -> StoreCorruptError:
    return StoreCorruptError(
        f"the schema {address.schema} belongs to another program",
        path=address.shown,
        why=why,
        next_step="name another schema: ?schema=NAME",
    )


def lay_out(connection: PostgresConnection, address: StoreAddress) -> None:
    """Make the schema and its tables, inside a transaction."""
    connection.script(f"CREATE SCHEMA IF NOT EXISTS {quoted(address.schema)};{statements()}".encode())
    connection.standing = timeline.standing_of(connection)
    connection.execute(
        "INSERT INTO setting (name, value) VALUES (?, ?)", (timeline.SETTING, connection.standing.timeline)
    )


def identity_of(connection: PostgresConnection) -> Identity:
    found = connection.execute("SELECT store_id FROM identity").fetchone()
    settings = dict(connection.execute("SELECT name, value FROM setting").fetchall())
    if found is None or "shard_steps" not in settings:
        raise StoreCorruptError(
            "the id of the store, or the size of its shards, is gone",
            next_step="bring the database back from a backup",
        )
    # What was copied, by whatever tool, is another schema, in another database or on another server.
    place = connection.execute(
        "SELECT (SELECT system_identifier FROM pg_control_system()),"
        " (SELECT oid FROM pg_database WHERE datname = current_database()),"
        " (SELECT oid FROM pg_namespace WHERE nspname = current_schema())"
    ).fetchone()
    assert place is not None
    place_id = uuid5(NAMESPACE_OID, " ".join(map(str, (found[0], *place))))
    return Identity(str(found[0]), str(place_id), int(settings["shard_steps"]), int(settings["format"]))
