"""Where a connection is lost while a commit is made: whether that is there is looked for, never guessed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import psycopg

from qmtl.foundation.errors import StoreError
from qmtl.foundation.store_address import StoreAddress
from qmtl.runtime.io.sql.postgres.connection import PostgresConnection
from qmtl.runtime.io.sql.transaction import writer
from qmtl.runtime.io.store.values import Point

# The number of a transaction, and since when its server runs: that is asked as the transaction begins.
MARKS = "pg_current_xact_id()::text, pg_postmaster_start_time()::text"
# How long a commit is looked for, while the server may be starting again.
SEARCH_S, _SEARCH_EVERY_S = 30.0, 0.2


def is_found(
    locked: Callable[[], AbstractContextManager[PostgresConnection]],
    is_kept: Callable[[PostgresConnection], bool],
    address: StoreAddress,
    failure: psycopg.Error,
) -> bool:
    """Whether a commit is there. Raises `StoreError` where nobody can say.

    locked: a connection that has the lock of all writers; who gets it knows that the commit has ended.
    """
    deadline = time.monotonic() + SEARCH_S
    while True:
        try:
            with locked() as connection:
                return is_kept(connection)
        except (psycopg.Error, StoreError) as again:
            if isinstance(again, _UnknownError) or time.monotonic() > deadline:
                raise StoreError(
                    "nobody knows whether the commit was kept",
                    path=address.shown,
                    why="the connection to the database was lost while it was made, and the store "
                    f"could not be asked: {address.redacted(str(again)).strip()}",
                    next_step="read what the store has once it can be asked, and repeat what is missing",
                ) from failure
        time.sleep(_SEARCH_EVERY_S)


def not_kept(address: StoreAddress) -> StoreError:
    """The error of a commit that is not there."""
    return StoreError(
        "the connection to the database was lost while a commit was made",
        path=address.shown,
        why="the store was asked again, and does not have it",
        next_step="repeat: nothing of it was kept",
    )


def is_listed(connection: PostgresConnection, newest: Point) -> bool:
    """By the list of commits: nobody else has this number and time."""
    found = connection.execute(
        "SELECT 1 FROM tx WHERE id = ? AND committed_at = ? AND writer = ?", (*newest, writer())
    )
    return found.fetchone() is not None


def is_kept(connection: PostgresConnection, transaction: str, started: str) -> bool:
    """By the server's own list of transactions, whose numbers a crash may give out again; see `MARKS`."""
    status, since = connection.execute(
        "SELECT pg_xact_status(?::text::xid8), pg_postmaster_start_time()::text", (transaction,)
    ).fetchone()
    if status == "aborted":
        return False
    if status == "committed" and since == started:
        return True
    raise _UnknownError(f"the server says {status or 'nothing'} of it, and runs since {since}")


class _UnknownError(StoreError):
    """The server cannot tell whether a transaction was committed."""
