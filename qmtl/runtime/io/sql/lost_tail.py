"""A commit of no series that says: others may be missing before it, which a backup or replica had not got."""

from __future__ import annotations

from qmtl.runtime.io.sql.commits import LOST_TAIL, newest
from qmtl.runtime.io.sql.dialect import Connection
from qmtl.runtime.io.sql.transaction import writer
from qmtl.runtime.io.store.point_in_time import following
from qmtl.runtime.io.store.values import Point

# Tokens that were issued, and lost, are fewer than this; they are not issued again.
_TOKENS = 1 << 20


def note_lost_tail(connection: Connection, now: int) -> Point:
    """Say so from here on; the newest commit then. Every `as_of` between it and the one before is refused.

    In a transaction that holds the lock. now: its time. A store without commits has nothing to lose.
    """
    before = newest(connection)
    if not before.tx:
        return before
    tail = following(before, now)
    connection.execute(
        connection.dialect.insert_commit, (*tail, LOST_TAIL, writer(), 0, before.as_of, tail.as_of)
    )
    connection.execute(
        f"UPDATE fence SET token = token + {_TOKENS}, crc ="
        f" {connection.dialect.proof_after('fence', token=f'token + {_TOKENS}')}"
        " WHERE token = (SELECT max(token) FROM fence)"
    )
    return tail
