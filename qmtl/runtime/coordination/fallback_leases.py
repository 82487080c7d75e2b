"""Leases of a coordinator, and of this machine alone while it does not answer."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.errors import CoordinatorUnavailableError, LeaseError
from qmtl.foundation.leases import ShardProgress
from qmtl.foundation.observability.log import backfill_log
from qmtl.foundation.observability.metrics import Metrics
from qmtl.runtime.coordination.shard_leases import Claimed, Granted, ShardLeases, ShardRequest

# A coordinator that did not answer is left alone for so long: each attempt may take seconds.
_PAUSE_S = 2.0


class ClosableLeases(ShardLeases, Protocol):
    def close(self) -> None: ...


class FallbackLeases:
    """A `ShardLeases`: each shard is claimed of `first`, or of `local` where `first` does not answer.

    What `local` grants says so (`Granted.uncoordinated`), and is counted and logged: on other machines
    somebody may ask for the same bars. The data stay right, since the store checks the fences of all.
    """

    def __init__(
        self, first: ClosableLeases, local: ShardLeases, metrics: Metrics, clock: Clock | None = None
    ) -> None:
        self._first = first
        self._local = local
        self._metrics = metrics
        self._clock = clock or SystemClock()
        self._pause_until = 0.0
        self._failure: CoordinatorUnavailableError | None = None

    @property
    def most_at_once(self) -> int:
        return min(self._first.most_at_once, self._local.most_at_once)

    async def claim(self, requests: Sequence[ShardRequest], *, claim_id: str) -> list[Claimed]:
        failure = self._failure
        if failure is None or self._clock.monotonic() >= self._pause_until:
            try:
                answers = await self._first.claim(requests, claim_id=claim_id)
            except CoordinatorUnavailableError as error:
                failure = self._failure = error
                self._pause_until = self._clock.monotonic() + _PAUSE_S
            else:
                if failure is not None:
                    backfill_log.info("backfill.coordinated", url=failure.url)
                self._failure = None
                return answers
        return await self._claim_here(requests, claim_id, failure)

    async def _claim_here(
        self, requests: Sequence[ShardRequest], claim_id: str, failure: CoordinatorUnavailableError
    ) -> list[Claimed]:
        why = failure.what if failure.why is None else f"{failure.what}: {failure.why}"
        answers: list[Claimed] = [
            answer._replace(uncoordinated=why) if isinstance(answer, Granted) else answer
            for answer in await self._local.claim(requests, claim_id=claim_id)
        ]
        granted = [answer.key for answer in answers if isinstance(answer, Granted)]
        for key in granted:
            self._metrics.count_uncoordinated(key.series, 1)
        if granted:
            backfill_log.warning(
                "backfill.uncoordinated",
                node_id=granted[0].series,
                shards=len(granted),
                url=failure.url,
                why=failure.why,
            )
        return answers

    async def renew(self, grants: Sequence[Granted], progress: ShardProgress) -> None:
        coordinated, alone = _apart(grants)
        await self._local.renew(alone, progress)
        await self._first.renew(coordinated, progress)

    def still_held(self, grants: Sequence[Granted]) -> None:
        coordinated, alone = _apart(grants)
        self._local.still_held(alone)
        self._first.still_held(coordinated)

    def lost(self, grants: Sequence[Granted]) -> Coroutine[Any, Any, LeaseError] | None:
        coordinated, _ = _apart(grants)  # those of this machine are not lost while it lives
        return self._first.lost(coordinated) if coordinated else None

    async def complete(self, grants: Sequence[Granted], *, as_of: int) -> None:
        coordinated, alone = _apart(grants)
        # All or none: those of this machine cannot be lost, once they are there.
        await self._first.complete(coordinated, as_of=as_of)
        await self._local.complete(alone, as_of=as_of)

    async def fail(self, grants: Sequence[Granted], *, why: str, is_away: bool = False) -> None:
        coordinated, alone = _apart(grants)
        await self._local.fail(alone, why=why, is_away=is_away)
        await self._first.fail(coordinated, why=why, is_away=is_away)

    def close(self) -> None:
        self._first.close()


def _apart(grants: Sequence[Granted]) -> tuple[list[Granted], list[Granted]]:
    coordinated = [grant for grant in grants if grant.uncoordinated is None]
    return coordinated, [grant for grant in grants if grant.uncoordinated is not None]
