"""Whether commits may be missing that were acknowledged: after a failover, or where something was restored.

PostgreSQL begins a new timeline when a replica is promoted, or when a server was restored up to some point;
and tables that were restored have other numbers. The store writes down both for its newest commits. Where
they are others now, commits behind the newest may have been lost: what the store held then is not known.
"""

from __future__ import annotations

from typing import NamedTuple

from qmtl.runtime.io.sql.dialect import Connection, Question
from qmtl.runtime.io.sql.lost_tail import note_lost_tail

SETTING = "timeline"
# A number for which tables these are in the database: whatever restores them makes others. 0 for none.
TABLES = "coalesce(to_regclass('tx')::oid::bigint, 0)"
# The same, asked first in each transaction: whoever brings a store back has its tables for himself, and waits
# for those who have them, or is waited for. Whoever waited has other tables then than he had seen.
HELD = Question(f"SELECT {TABLES} WHERE NOT EXISTS (SELECT FROM tx LIMIT 0)")
_SERVER = (
    "(SELECT system_identifier FROM pg_control_system())::text || ' ' ||"
    " left(pg_walfile_name(pg_current_wal_lsn()), 8)"
)
# A number for the timeline of the server, for which server it is, and which tables.
NOW = f"hashtextextended({_SERVER} || ' ' || {TABLES}, 0)"
# As stores have it that were laid out before the tables had a part in it.
OF_SERVER_ALONE = f"hashtextextended({_SERVER}, 0)"
_NOW_IF_ANY = f"CASE WHEN pg_is_in_recovery() THEN NULL ELSE {NOW} END"
_SAID = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN value"
    f" WHEN value = {OF_SERVER_ALONE} THEN {NOW} ELSE value END FROM setting WHERE name = '{SETTING}'"
)

_IN_RECOVERY = "the server is a replica in recovery, and may not have replayed them yet"
_MOVED = "the server or the store was promoted or restored since it was written last, and may have lost them"


class Standing(NamedTuple):
    """The timeline as a number, None for a replica in recovery; and which tables there are."""

    timeline: int | None
    tables: int


def standing_of(connection: Connection) -> Standing:
    """As it is now."""
    return Standing(*connection.execute(f"SELECT {_NOW_IF_ANY}, {TABLES}").fetchone())


def of_store(connection: Connection) -> int | None:
    """The timeline of its newest commits; None if it does not say."""
    (found,) = connection.execute(f"SELECT ({_SAID})").fetchone()
    return None if found is None else int(found)


def why_missing(connection: Connection) -> str:
    """Why commits behind the newest may be missing; "" if none can."""
    timeline, said = connection.execute(f"SELECT {_NOW_IF_ANY}, ({_SAID})").fetchone()
    if timeline is None:
        return _IN_RECOVERY
    return "" if said in (None, timeline) else _MOVED


def note_tables(connection: Connection) -> None:
    """Let a store that was laid out before the tables had a part in it say which they are."""
    connection.execute(
        f"UPDATE setting SET value = {NOW} WHERE name = ? AND value = {OF_SERVER_ALONE}", (SETTING,)
    )


def go_on(connection: Connection, now: int, timeline: int) -> None:
    """Note that the store is on another timeline from here on. In a transaction that holds the lock.

    now: the time of the server. A commit without a series says so, whose time ends the doubt.
    """
    if of_store(connection) in (None, timeline):
        return  # somebody was quicker
    note_lost_tail(connection, now)
    connection.execute("UPDATE setting SET value = ? WHERE name = ?", (timeline, SETTING))
