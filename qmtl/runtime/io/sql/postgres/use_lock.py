"""Held by every session of a store, so that nobody changes its layout, or replaces it, under them."""

from __future__ import annotations

from contextlib import suppress

import psycopg
from psycopg.errors import LockNotAvailable

from qmtl.foundation.errors import StoreLockedError
from qmtl.foundation.store_address import StoreAddress
from qmtl.runtime.io.sql.postgres.connection import PostgresConnection

# How long who wants a store for itself waits for the others to leave it, in seconds. The server takes a
# moment to notice that a process was killed, and that its session has ended.
PATIENCE_S = 5


def use(connection: PostgresConnection, address: StoreAddress, *, alone: bool) -> None:
    """Until the session ends: beside others, or alone. Raises `StoreLockedError`."""
    if alone:
        _be_alone(connection, address)
        return
    (is_free,) = connection.execute(
        "SELECT pg_try_advisory_lock_shared(hashtextextended(?, 0))", (_name(address),)
    ).fetchone()
    if not is_free:
        raise StoreLockedError(
            "the store is being migrated or replaced",
            path=address.shown,
            why="another process has it for itself meanwhile",
            next_step="wait until that process ends",
        )


def leave(connection: PostgresConnection) -> None:
    """Undo what is open, and let others in at once: the server notices a moment later that a session ends."""
    with suppress(psycopg.OperationalError):  # it is lost, and with it what it had for itself
        connection.script(b"ROLLBACK; SELECT pg_advisory_unlock_all()")


def _be_alone(connection: PostgresConnection, address: StoreAddress) -> None:
    connection.execute(f"SET lock_timeout = '{PATIENCE_S}s'")
    try:
        connection.execute("SELECT pg_advisory_lock(hashtextextended(?, 0))", (_name(address),))
    except LockNotAvailable as failure:
        users = _users(connection, address)
        raise StoreLockedError(
            "the store is in use",
            path=address.shown,
            why=f"{', '.join(users[:3])} {'has' if len(users) == 1 else 'have'} it open",
            next_step="end them and repeat",
        ) from failure
    connection.execute("SET lock_timeout = 0")


def _users(connection: PostgresConnection, address: StoreAddress) -> list[str]:
    found = connection.execute(
        "WITH key AS (SELECT hashtextextended(?, 0) AS number)"
        " SELECT DISTINCT application_name FROM key, pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE locktype = 'advisory' AND granted AND objsubid = 1"
        " AND (classid::bigint << 32) + objid::bigint = number AND datname = current_database() ORDER BY 1",
        (_name(address),),
    ).fetchall()
    return [name for (name,) in found] or ["a process that has ended since"]


def _name(address: StoreAddress) -> str:
    return f"qmtl use {address.schema}"
