"""Fencing tokens: who was granted a shard last, and that nobody who was overtaken may write there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.sql.commits import enter_series
from qmtl.runtime.io.sql.dialect import Connection
from qmtl.runtime.io.store.fencing import Fence, renewed, stale_fence


def open_fence(
    connection: Connection, series: SeriesId, shards: Iterable[int], claim_id: str, now: int
) -> dict[int, int]:
    """See `Fencing.open_fence`. On a connection inside a transaction."""
    number = enter_series(connection, series)
    wanted = sorted(set(shards))
    (last,) = connection.execute("SELECT coalesce(max(token), 0) FROM fence").fetchone()
    tokens = renewed(_newest(connection, number, wanted), wanted, claim_id, last + 1)
    connection.executemany(
        "INSERT INTO fence (series, shard, token, claim, opened_at) VALUES (?1, ?2, ?3, ?4, ?5)"
        " ON CONFLICT (series, shard) DO UPDATE SET token = excluded.token, claim = excluded.claim,"
        " opened_at = excluded.opened_at",
        [(number, shard, token, claim_id, now) for shard, token in tokens.items() if token > last],
    )
    return tokens


def refuse_stale(connection: Connection, series: SeriesId, number: int, fences: Mapping[int, int]) -> None:
    """Raise `StaleFenceError` if a token is not the newest one of its shard."""
    if fences:
        newest = _newest(connection, number, list(fences))
        if (failure := stale_fence(series, fences, newest)) is not None:
            raise failure


def _newest(connection: Connection, number: int, shards: list[int]) -> dict[int, Fence]:
    if not shards:
        return {}
    found = connection.execute(
        "SELECT shard, token, claim FROM fence WHERE series = ? AND shard BETWEEN ? AND ?",
        (number, min(shards), max(shards)),
    )
    return {shard: Fence(token, claim) for shard, token, claim in found.fetchall()}
