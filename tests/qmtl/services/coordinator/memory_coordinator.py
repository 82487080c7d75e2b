"""A coordinator on a database of the test, whose time is that of the database."""

from __future__ import annotations

import asyncio
from typing import Any

from qmtl.foundation.timeline import Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.coordination.job_blocks import Outcome
from qmtl.runtime.coordination.job_plans import WantedRange
from qmtl.runtime.io.store.fencing import SHARD_STEPS
from qmtl.services.coordinator.job_events import JobEvent
from qmtl.services.coordinator.job_service import Job, JobService
from qmtl.services.coordinator.job_taking import Take, Taken
from qmtl.services.coordinator.lease_service import LeaseService
from tests.qmtl.services.coordinator.memory_keys import MemoryKeys

SHARD = SHARD_STEPS * MINUTE
TTL_S = 10


class KeysClock:
    def __init__(self, keys: MemoryKeys) -> None:
        self._keys = keys

    def monotonic(self) -> float:
        return self._keys.now

    def now(self) -> int:
        return round(self._keys.now * 1e9)

    def new_event_loop(self) -> Any:
        raise AssertionError("nothing waits here")


class Coordinator:
    def __init__(self, keys: MemoryKeys) -> None:
        self.events: list[JobEvent] = []
        clock = KeysClock(keys)
        self.leases = LeaseService(keys, clock)
        self.jobs = JobService(keys, clock, self.leases.sessions, self.leases.history, self.events.append)

    def queue(self, job: str, *ranges: WantedRange, store: str = "store") -> Job:
        return asyncio.run(self.jobs.queue(job, store, "somebody", ranges))

    def take(
        self,
        worker: str,
        take_id: str,
        venues: str = "*",
        store: str = "store",
        turn: int | None = None,
        resting: frozenset[str] = frozenset(),
    ) -> Taken | None:
        return asyncio.run(self.jobs.take(Take(worker, take_id, store, venues, TTL_S, turn, resting)))[0]

    def end(self, taken: Taken, take_id: str, outcome: Outcome = Outcome.DONE, why: str = "") -> bool:
        return asyncio.run(self.jobs.end(taken.job, taken.number, take_id, outcome, why))

    def sweep(self) -> None:
        asyncio.run(self.leases.sweep(self.jobs.expire))
        asyncio.run(self.jobs.tidy())

    def job(self, job: str) -> Job:
        found = asyncio.run(self.jobs.job(job))
        assert found is not None
        return found


def wanted(shards: int, venue: str = "test") -> WantedRange:
    return WantedRange(f"ohlcv:{venue}:A:1m", Span(5 * MINUTE, shards * SHARD - MINUTE))
