"""What the server of a store is: how it keeps what was committed, its replicas, its dead rows."""

from __future__ import annotations

from dataclasses import dataclass

from qmtl.runtime.io.sql.dialect import Connection


@dataclass(frozen=True)
class ServerState:
    """A server as this user may see it.

    is_replica: whether it only replays what a primary sends. synchronous_commit: of sessions of this store.
    replicas, waited_for: how many stream from it, and for how many of them a commit waits. behind_bytes: how
    much log the slowest has still to replay; None without one, or without the right to know. last_replayed
    (ns): of a replica, the time of the newest transaction that it has. live_rows, dead_rows: of all tables of
    the store, as the server estimates them. vacuumed_at (ns): when one of them was cleared up last.
    """

    version: str
    is_replica: bool
    fsync: bool
    full_page_writes: bool
    data_checksums: bool
    synchronous_commit: str
    replicas: int
    waited_for: int
    behind_bytes: int | None
    last_replayed: int | None
    live_rows: int
    dead_rows: int
    vacuumed_at: int | None

    @property
    def dead_fraction(self) -> float:
        """How many of the rows in its tables are dead: versions that nobody sees, not yet cleared up."""
        return self.dead_rows / max(self.live_rows + self.dead_rows, 1)


_NS = "(extract(epoch FROM {}) * 1000000)::bigint * 1000"
_SETTINGS = ("fsync", "full_page_writes", "data_checksums")
_STATE = f"""
SELECT current_setting('server_version'), pg_is_in_recovery(),
       {", ".join(f"current_setting('{name}') = 'on'" for name in _SETTINGS)},
       current_setting('synchronous_commit'),
       count(replica.pid), count(*) FILTER (WHERE replica.sync_state IN ('sync', 'quorum')),
       max(CASE WHEN pg_is_in_recovery() THEN NULL
           ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), replica.replay_lsn) END)::bigint,
       {_NS.format("pg_last_xact_replay_timestamp()")}
FROM (SELECT) AS server LEFT JOIN pg_stat_replication AS replica ON true
"""
_ROWS = f"""
SELECT coalesce(sum(n_live_tup), 0)::bigint, coalesce(sum(n_dead_tup), 0)::bigint,
       {_NS.format("greatest(max(last_vacuum), max(last_autovacuum))")}
FROM pg_stat_user_tables WHERE schemaname = current_schema()
"""


def state_of(connection: Connection) -> ServerState:
    return ServerState(*connection.execute(_STATE).fetchone(), *connection.execute(_ROWS).fetchone())
