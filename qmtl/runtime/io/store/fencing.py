"""Fencing tokens of shards: when a claim gets a new one, and which writes come too late."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from qmtl.foundation.errors import InvalidRequestError, StaleFenceError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Int64Array
from qmtl.foundation.words import counted
from qmtl.runtime.io.store.values import Write

# Requests that overlap must claim the same shards, so the grid is counted from the epoch and never changes.
SHARD_STEPS = 10_000


class Fence(NamedTuple):
    """The newest token of a shard, and the claim that has it."""

    token: int
    claim: str


def renewed(
    newest: Mapping[int, Fence], shards: Iterable[int], claim_id: str, next_token: int
) -> dict[int, int]:
    """The token of each shard for a claim: its own where it is the newest, else `next_token`."""
    return {
        shard: fence.token if (fence := newest.get(shard)) and fence.claim == claim_id else next_token
        for shard in shards
    }


def shards_of(ts: Int64Array, width: int) -> set[int]:
    """The shards that hold some of the stamps (ascending). Shard k is `[k, k + 1) * width` ns from the epoch.

    Where there are fewer shards than stamps, the borders of the shards are looked up among the stamps: a
    division for each of many rows takes longer than the commit of their bytes.
    """
    if not len(ts):
        return set()
    first, last = int(ts[0]) // width, int(ts[-1]) // width
    if last - first >= len(ts):
        return set((ts // width).tolist())
    borders = np.searchsorted(ts, np.arange(first + 1, last + 1) * width)
    filled = np.diff(borders, prepend=0, append=len(ts)) > 0
    return set((first + np.flatnonzero(filled)).tolist())


def refuse_unfenced(series: SeriesId, write: Write, ts: Int64Array, shard_steps: int) -> None:
    """Raise `InvalidRequestError` if a write under fences touches a shard that it has no token for.

    ts: the stamps of its rows, ascending. Without any fence nothing is asked.
    """
    if not write.fences:
        return
    width = shard_steps * series.timeframe.step
    spans = write.covered
    runs = zip((spans.starts // width).tolist(), ((spans.ends - 1) // width).tolist(), strict=True)
    touched = {shard for first, last in runs for shard in range(first, last + 1)}
    touched |= shards_of(ts, width)
    if bare := touched - write.fences.keys():
        raise InvalidRequestError(
            "a write under fences has no token for a shard that it touches",
            series=series,
            why=f"it touches {counted(len(bare), 'more shard')}, such as {min(bare)}",
            next_step="claim all shards that the write touches, or cut it to those that are claimed",
        )


def stale_fence(
    series: SeriesId, fences: Mapping[int, int], newest: Mapping[int, Fence]
) -> StaleFenceError | None:
    """The refusal of a write under tokens that are not the newest of their shards; None if all are."""
    stale = {
        shard: token for shard, token in fences.items() if shard not in newest or newest[shard].token != token
    }
    if not stale:
        return None
    shown = ", ".join(
        f"shard {shard}: token {token}, the newest is {newest[shard].token} (of {newest[shard].claim})"
        if shard in newest
        else f"shard {shard}: token {token} was never issued by this store"
        for shard, token in sorted(stale.items())[:3]
    )
    more = f", and {len(stale) - 3} more" if len(stale) > 3 else ""
    return StaleFenceError(
        "a backfill that was overtaken may not write any more",
        series=series,
        stale=stale,
        why=f"{shown}{more}",
        next_step="nothing of it was kept; read what the store has now, and claim what is still missing",
    )
