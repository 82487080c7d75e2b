"""Which shard of which job a worker is given.

The oldest job comes first, and what has failed comes behind all that is fresh, of any job: so what fails
again and again holds up nothing. A part of the takes prefers what has failed, so that it is not put off for
as long as jobs are queued.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from qmtl.foundation.leases import LeaseKey
from qmtl.foundation.series import SeriesId
from qmtl.runtime.coordination.job_blocks import BLOCK, Block, free
from qmtl.runtime.coordination.job_plans import JobPlan, JobShard
from qmtl.services.coordinator.job_store import Header, StoredBlock

# One in so many takes of a worker prefers, within the oldest job that has any, a shard that has failed.
AGAIN_EVERY = 4


class Take(NamedTuple):
    """What a worker asks for. take_id: the same if it asks again. venues: a pattern, such as `binance*`.

    turn: how many shards it was given before, if it says so. Then a request that comes late takes nothing.
    resting: series that it leaves alone for now, since they have failed lately.
    """

    worker: str
    take_id: str
    store: str
    venues: str
    ttl_s: int
    turn: int | None = None
    resting: frozenset[str] = frozenset()

    @property
    def prefers_again(self) -> bool:
        return self.turn is not None and self.turn % AGAIN_EVERY == AGAIN_EVERY - 1


class Taken(NamedTuple):
    """A shard of a job; its number counts through all ranges of the job. attempts: that failed before."""

    job: str
    store: str
    number: int
    shard: JobShard
    attempts: int

    @property
    def lease_key(self) -> str:
        return str(LeaseKey(self.store, self.shard.series, self.shard.shard))


class Choice(NamedTuple):
    """A shard that may be taken: its job, and its place there."""

    header: Header
    plan: JobPlan
    stored: StoredBlock
    within: int

    @property
    def taken(self) -> Taken:
        return shard_of(self.header, self.plan, self.stored.block, self.stored.number * BLOCK + self.within)


class Choices(NamedTuple):
    """Of one job: the first fresh shard, and of those that failed the one that waits longest."""

    fresh: Choice | None
    again: Choice | None


def choices(
    header: Header, plan: JobPlan, blocks: Sequence[StoredBlock], asked: Take, *, now: float
) -> Choices:
    """What of this job the worker may be given."""
    fresh: Choice | None = None
    again: Choice | None = None
    for stored in blocks:
        if fresh is not None and not stored.block.failures:
            continue
        may = _fitting(plan, stored, asked)
        if may is None:
            continue
        found = free(stored.block, may, now=now)
        if fresh is None and found.fresh is not None:
            fresh = Choice(header, plan, stored, found.fresh)
        if found.again is not None:
            other = Choice(header, plan, stored, found.again)
            again = other if again is None else min(again, other, key=_rested_at)
        if fresh is not None and not asked.prefers_again:
            break
    return Choices(fresh, again)


def shard_of(header: Header, plan: JobPlan, block: Block, number: int) -> Taken:
    failures = block.failures.get(number % BLOCK)
    attempts = 0 if failures is None else failures.in_all
    return Taken(header.job, header.facts["store"], number, plan[number], attempts)


def _rested_at(choice: Choice) -> float:
    return choice.stored.block.failures[choice.within].not_before


def _fitting(plan: JobPlan, stored: StoredBlock, asked: Take) -> Callable[[int], bool] | None:
    """Which shards of a block may be taken; None if there is none, which is seen without looking at each."""
    first = stored.number * BLOCK
    found = plan.series_of(first, first + len(stored.block.states)) - asked.resting
    fitting = {series for series in found if fnmatchcase(SeriesId.parse(series).venue, asked.venues)}
    return (lambda within: plan[first + within].series in fitting) if fitting else None
