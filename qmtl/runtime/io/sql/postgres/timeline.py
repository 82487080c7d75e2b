"""Whether commits may be missing that were acknowledged: after a failover to a replica, or a restored server.

PostgreSQL begins a new timeline when a replica is promoted, or when a server was restored up to some point.
The store writes down the timeline of its newest commits. Where the server is on another one, commits behind
the newest may have been lost: what the store held at a time behind it is not known.
"""

from __future__ import annotations

from qmtl.runtime.io.sql.commits import LOST_TAIL, newest
from qmtl.runtime.io.sql.dialect import Connection
from qmtl.runtime.io.sql.transaction import writer
from qmtl.runtime.io.store.point_in_time import following

SETTING = "timeline"
# A number for the timeline of the server, and for which server it is.
NOW = (
    "hashtextextended((SELECT system_identifier FROM pg_control_system())::text || ' ' ||"
    " left(pg_walfile_name(pg_current_wal_lsn()), 8), 0)"
)
# Tokens that were issued, and lost, are fewer than this; they are not issued again.
_TOKENS = 1 << 20

IN_RECOVERY = "the server is a replica in recovery, and may not have replayed them yet"
MOVED = "the server was promoted or restored since the store was written last, and may have lost them"


def of_server(connection: Connection) -> int | None:
    """The timeline of the server, as a number; None for a replica in recovery, which has none of its own."""
    (found,) = connection.execute(f"SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE {NOW} END").fetchone()
    return None if found is None else int(found)


def of_store(connection: Connection) -> int | None:
    """The timeline of its newest commits; None if it does not say."""
    found = connection.execute("SELECT value FROM setting WHERE name = ?", (SETTING,)).fetchone()
    return None if found is None else int(found[0])


def go_on(connection: Connection, now: int, timeline: int) -> None:
    """Note that the store is on another timeline from here on. In a transaction that holds the lock.

    now: the time of the server. A commit without a series says so, whose time ends the doubt.
    """
    if of_store(connection) in (None, timeline):
        return  # somebody was quicker
    before = newest(connection)
    if before.tx:
        tx, as_of = following(before, now)
        connection.execute(
            connection.dialect.insert_commit, (tx, as_of, LOST_TAIL, writer(), 0, before.as_of, as_of)
        )
        connection.execute(
            "UPDATE fence SET token = token + ? WHERE token = (SELECT max(token) FROM fence)", (_TOKENS,)
        )
    connection.execute("UPDATE setting SET value = ? WHERE name = ?", (timeline, SETTING))
