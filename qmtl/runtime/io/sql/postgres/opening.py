"""How a connection to a store is opened: with our settings of a session, and with errors that help."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from qmtl.foundation.store_address import StoreAddress
from qmtl.runtime.io.sql.postgres import timeline
from qmtl.runtime.io.sql.postgres.connection import PostgresConnection
from qmtl.runtime.io.sql.postgres.failures import pooled, unreachable
from qmtl.runtime.io.sql.postgres.layout import quoted
from qmtl.runtime.io.sql.postgres.use_lock import leave, use

# A plan that was made while a table was empty is kept: it must not stay a scan or a join of the whole table.
_SESSION = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    # The rows of several questions in one statement come in the order of each.
    "max_parallel_workers_per_gather": "0",
    # Bytes within arrays are sent as texts, whose backslashes stand for themselves.
    "standard_conforming_strings": "on",
    # Rows that a policy hides are an error, and not rows that are lost.
    "row_security": "off",
}
_DEFAULTS = {"connect_timeout": "10", "keepalives_idle": "30", "tcp_user_timeout": "30000"}
# How soon a server ends a statement whose process was killed, or went away without a word that reaches it.
_LOOKS_EVERY = "2s"


def opened(address: StoreAddress, *, alone: bool = False, lock_timeout_ms: int = 0) -> PostgresConnection:
    """A connection to the schema of a store. Raises `StoreError` if there is none.

    alone: as long as it lasts nobody else has one, so that the layout can be changed. Raises
    `StoreLockedError` where others have, and for the others while it lasts. lock_timeout_ms: how long the
    server lets it wait for a lock; 0 for as long as it takes.
    """
    try:
        given = conninfo_to_dict(address.conninfo)
        session = {"search_path": quoted(address.schema), **_SESSION}
        options = " ".join(f"-c {name}={_escaped(value)}" for name, value in session.items())
        kept = {
            **{name: value for name, value in _DEFAULTS.items() if name not in given},
            "options": f"{given.get('options', '')} {options}".strip(),
            "application_name": given.get("application_name", f"qmtl {socket.gethostname()}:{os.getpid()}"),
            "client_encoding": "UTF8",
        }
        conninfo = make_conninfo(address.conninfo, **kept)
        raw = psycopg.connect(conninfo, autocommit=True, cursor_factory=psycopg.RawCursor)
    except psycopg.Error as failure:
        raise unreachable(failure, address) from failure
    connection = PostgresConnection(raw)
    try:
        # What was acknowledged is durable, whatever this user or database is set to. And from version 14 on,
        # on Linux, a server can look whether the process that it works for is still there.
        *found, fsync, _, _, _ = connection.execute(
            f"SELECT {', '.join(f'current_setting({name!r})' for name in session)}, current_setting('fsync'),"
            " CASE WHEN current_setting('synchronous_commit') = 'off'"
            " THEN set_config('synchronous_commit', 'on', false) END,"
            " CASE WHEN current_setting('client_connection_check_interval', true) = '0'"
            " AND version() LIKE '%linux%'"
            f" THEN set_config('client_connection_check_interval', '{_LOOKS_EVERY}', false) END,"
            f" set_config('lock_timeout', '{lock_timeout_ms}', false)"
        ).fetchone()
        for (name, wanted), value in zip(session.items(), found, strict=True):
            if value != wanted:
                raise pooled(address, f"the session has {name} = {value}, and not {wanted}")
        connection.waits_for_disk = fsync == "on"
        use(connection, address, alone=alone)
        connection.standing = timeline.standing_of(connection)
    except BaseException:
        raw.close()
        raise
    return connection


@contextmanager
def for_a_while(address: StoreAddress, *, alone: bool) -> Iterator[PostgresConnection]:
    """As `opened`; nobody who comes after the block finds the store still in use by it."""
    with closing(opened(address, alone=alone)) as connection:
        try:
            yield connection
        finally:
            leave(connection)


def _escaped(value: str) -> str:
    """A value among the options of a session."""
    return re.sub(r"[\\ \t\n\r\v\f]", r"\\\g<0>", value)
