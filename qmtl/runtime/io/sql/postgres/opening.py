"""How a connection to a store is opened: with our settings of a session, and with errors that help."""

from __future__ import annotations

import os
import socket

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from qmtl.foundation.store_address import StoreAddress
from qmtl.runtime.io.sql.postgres.connection import PostgresConnection
from qmtl.runtime.io.sql.postgres.failures import pooled, unreachable
from qmtl.runtime.io.sql.postgres.layout import quoted

# A plan that was made while a table was empty is kept: it must not stay a scan or a join of the whole table.
_SESSION = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off"}
_DEFAULTS = {"connect_timeout": "10", "keepalives_idle": "30", "tcp_user_timeout": "30000"}


def opened(address: StoreAddress) -> PostgresConnection:
    """A connection to the schema of a store. Raises `StoreError` if there is none."""
    try:
        given = conninfo_to_dict(address.conninfo)
        session = {**_SESSION, "search_path": quoted(address.schema)}
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
        # What was acknowledged is durable, whatever this user or database is set to.
        path, _ = connection.execute(
            "SELECT current_setting('search_path'), CASE WHEN current_setting('synchronous_commit') = 'off'"
            " THEN set_config('synchronous_commit', 'on', false) END"
        ).fetchone()
        if path != session["search_path"]:
            raise pooled(address, f"the schema of the session is {path}, and not {session['search_path']}")
    except BaseException:
        raw.close()
        raise
    return connection


def _escaped(value: str) -> str:
    """A value among the options of a session."""
    return value.replace("\\", r"\\").replace(" ", r"\ ")
