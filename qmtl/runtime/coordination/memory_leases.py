"""Leases of one process, for a store that lives in its memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from qmtl.foundation import leases
from qmtl.foundation.errors import LeaseError
from qmtl.foundation.leases import Lease, LeaseEvent, LeaseKey, LeaseState, ShardProgress, advance
from qmtl.runtime.coordination.shard_leases import Claimed, Done, Granted, Held, ShardRequest

RETRY_AFTER_S = 0.05
MOST_AT_ONCE = 64


class MemoryLeases:
    """A `ShardLeases` whose leases end with the process, like the store that they are for.

    It remembers which cells of a shard were completed last and when, so that `claim` can answer `Done`.
    """

    most_at_once = MOST_AT_ONCE

    def __init__(self) -> None:
        self._leases: dict[LeaseKey, Lease] = {}
        self._lock = threading.Lock()

    async def claim(self, requests: Sequence[ShardRequest], *, claim_id: str) -> list[Claimed]:
        with self._lock:
            return [self._claim(request, claim_id) for request in requests]

    def _claim(self, request: ShardRequest, claim_id: str) -> Claimed:
        key = request.key
        lease = self._leases.get(key) or Lease(key)
        if lease.state is LeaseState.HELD and lease.claim_id == claim_id:
            return Granted(key, claim_id)
        if lease.state is LeaseState.HELD:
            return Held(key, lease.holder or "", lease.progress, RETRY_AFTER_S)
        if lease.state is LeaseState.COMPLETED:
            as_of = lease.as_of or 0
            if as_of > request.read_as_of and not request.cells - lease.cells:
                return Done(key, as_of)
            lease = Lease(key)  # other cells, or bars that have been reopened since: new work
        if lease.state is LeaseState.FAILED:
            lease = advance(lease, leases.Requeued())
        granted = advance(lease, leases.Granted(claim_id, "this process", None))
        self._leases[key] = replace(granted, cells=request.cells)
        return Granted(key, claim_id)

    async def renew(self, grants: Sequence[Granted], progress: ShardProgress) -> None:
        self._advance({grant: leases.Renewed(grant.claim_id, None, progress) for grant in grants})

    def still_held(self, grants: Sequence[Granted]) -> None:
        for grant in grants:
            lease = self._leases.get(grant.key) or Lease(grant.key)
            advance(lease, leases.Renewed(grant.claim_id, None))

    def lost(self, grants: Sequence[Granted]) -> None:
        return None

    async def complete(self, grants: Sequence[Granted], *, as_of: int) -> None:
        self._advance({grant: leases.Completed(grant.claim_id, as_of) for grant in grants})

    async def fail(self, grants: Sequence[Granted], *, why: str, is_away: bool = False) -> None:
        with self._lock:
            for grant in grants:
                lease = self._leases.get(grant.key)
                if lease is None or lease.claim_id != grant.claim_id or lease.state is not LeaseState.HELD:
                    continue  # it is not the caller's any more
                self._leases[grant.key] = advance(lease, leases.Failed(grant.claim_id, why))

    def _advance(self, events: Mapping[Granted, LeaseEvent]) -> None:
        """All of them, or none."""
        with self._lock:
            after = {}
            for grant, event in events.items():
                lease = self._leases.get(grant.key)
                if lease is None:
                    raise LeaseError("nobody has claimed this shard", lease_key=str(grant.key))
                after[grant.key] = advance(lease, event)
            self._leases.update(after)
