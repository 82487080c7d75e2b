"""Leases of one machine by a coordinator without a database: what is granted holds the lock of its shard.

The locks are those that processes without a coordinator take (`LocalLeases`): both exclude each other.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.leases import LeaseKey, LeaseState, ShardProgress
from qmtl.foundation.words import counted
from qmtl.runtime.coordination.lease_keeping import Transition
from qmtl.runtime.coordination.local_leases import LocalLeases
from qmtl.runtime.coordination.shard_leases import Granted, Held, ShardRequest
from qmtl.services.coordinator.lease_service import SHARDS, Claims, LeaseService, Renewal
from qmtl.services.coordinator.memory_keys import MemoryKeys

# All locks are held by this process, for one worker or another.
_CLAIM = "coordinator"


class EmbeddedLeases(LeaseService):
    """A `LeaseService` that is the only one of its stores, and is forgotten with its process.

    Whoever held a lease then finds its session unknown, and its locks free.

    stores: by their ids, the locks of the processes that have them open.
    """

    def __init__(
        self,
        keys: MemoryKeys,
        stores: Mapping[str, LocalLeases],
        clock: Clock,
        on_transition: Callable[[Transition], None],
    ) -> None:
        super().__init__(keys, clock, on_transition)
        self._memory = keys
        self._stores = stores
        self._time = clock
        self._begun = clock.monotonic()
        self._locked: dict[LeaseKey, Granted] = {}

    async def claim(
        self, worker: str, claim_id: str, requests: Sequence[ShardRequest], *, ttl_s: int
    ) -> Claims:
        """See `LeaseService.claim`. Raises `InvalidRequestError` for another store."""
        self._pass_time()
        outside: dict[LeaseKey, Held] = {}
        try:
            for request in requests:
                if request.key in self._locked:
                    continue
                (answer,) = await self._locks(request.key).claim([request], claim_id=_CLAIM)
                if isinstance(answer, Granted):
                    self._locked[answer.key] = answer
                elif isinstance(answer, Held):
                    outside[answer.key] = answer
            inside = [request for request in requests if request.key not in outside]
            claims = await super().claim(worker, claim_id, inside, ttl_s=ttl_s)
        finally:
            await self._unlock()
        if claims.has_ended:
            return claims
        answers = iter(claims.answers)
        merged = [outside.get(request.key) or next(answers) for request in requests]
        return claims._replace(answers=merged)

    async def renew(
        self, worker: str, claims: Mapping[LeaseKey, str], progress: ShardProgress | None
    ) -> Renewal:
        self._pass_time()
        renewal = await super().renew(worker, claims, progress)
        if progress is not None and not renewal.lost and renewal.status is not None:
            for key in claims:
                await self._locks(key).renew([self._locked[key]], progress)
        return renewal

    async def complete(
        self, worker: str, claim_id: str, keys: Sequence[LeaseKey], *, as_of: int
    ) -> list[LeaseKey]:
        self._pass_time()
        lost = await super().complete(worker, claim_id, keys, as_of=as_of)
        await self._unlock()
        return lost

    async def fail(
        self, worker: str, claim_id: str, keys: Sequence[LeaseKey], *, why: str, is_away: bool = False
    ) -> None:
        self._pass_time()
        await super().fail(worker, claim_id, keys, why=why, is_away=is_away)
        await self._unlock()

    async def sweep(self, *more: Callable[[str], Awaitable[None]]) -> None:
        self._pass_time()
        await super().sweep(*more)
        await self._unlock()

    def _pass_time(self) -> None:
        self._memory.pass_time(self._time.monotonic() - self._begun - self._memory.now)

    async def _unlock(self) -> None:
        """Free what nobody holds any more."""
        ended = [lock for key, lock in self._locked.items() if not self._is_held(key)]
        for lock in ended:
            del self._locked[lock.key]
            await self._locks(lock.key).fail([lock], why="the lease has ended")

    def refuse_other(self, store_id: str) -> None:
        if store_id not in self._stores:
            raise InvalidRequestError(
                f"this coordinator is of {counted(len(self._stores), 'store')}, {', '.join(self._stores)}",
                why=f"the store that is asked for is {store_id}",
                next_step="begin a coordinator for that store, or one before an etcd",
            )

    def _locks(self, key: LeaseKey) -> LocalLeases:
        self.refuse_other(key.store_id)
        return self._stores[key.store_id]

    def _is_held(self, key: LeaseKey) -> bool:
        entry = self._memory.entries.get(SHARDS + str(key))
        return entry is not None and json.loads(entry.value)["state"] == LeaseState.HELD
