"""Jobs as key values: one header each, its ranges in pieces, and the states of its shards in blocks.

A block that is not there is queued as a whole, so that a job of a hundred thousand shards is written as
quickly as one of ten. Of a job that has ended a summary is remembered, and all else is taken away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from qmtl.foundation.clock import Clock
from qmtl.foundation.leases import LeaseKey
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import SECOND
from qmtl.runtime.coordination.job_blocks import BLOCK, Block, Counts, Failures, block_json, block_of, sum_of
from qmtl.runtime.coordination.job_plans import JobPlan, WantedRange
from qmtl.runtime.io.store.fencing import SHARD_STEPS
from qmtl.services.coordinator.json_entries import all_of, as_json
from qmtl.services.coordinator.key_values import Committed, Conflict, KeyValues, Put, UnknownLifetimeError
from qmtl.services.coordinator.shared_lifetimes import SharedLifetimes

REMEMBERED_S = 7 * 24 * 3600
# Of a job that has ended so many violations are remembered one by one.
MOST_VIOLATIONS = 200

_QUEUE, _ENDED, _RANGES, _BLOCKS, _LEFTOVERS = "queue/", "jobs/", "ranges/", "blocks/", "leftovers/"
_PIECE = 500
_PLANS = 50
_DELETED_AT_ONCE = 100


class Header(NamedTuple):
    """facts: {store, by, at, shards}; of a job that has ended also {ended, end, counts, violations}.

    A job that is cancelled has {cancelled: when} as well, and is open while anybody is at work on it.
    revision: of what is stored; 0 for a job that has ended.
    """

    job: str
    facts: Mapping[str, Any]
    revision: int

    @property
    def is_open(self) -> bool:
        return "ended" not in self.facts

    @property
    def is_cancelled(self) -> bool:
        return "cancelled" in self.facts


class StoredBlock(NamedTuple):
    """A block of a job, by its number; its revision is 0 where it is not stored yet."""

    number: int
    block: Block
    revision: int


class JobStore:
    """Many may serve one database."""

    def __init__(self, keys: KeyValues, clock: Clock, lifetimes: SharedLifetimes) -> None:
        self._keys = keys
        self._clock = clock
        self._lifetimes = lifetimes
        self._plans: dict[str, JobPlan] = {}
        # Of each job the counts of its first blocks that are final, and so stay as they are.
        self._final: dict[str, list[Counts]] = {}

    async def add(
        self, job: str, facts: Mapping[str, Any], ranges: Sequence[bytes], more: Mapping[str, Put | None]
    ) -> bool:
        """Whether it was added: there was none of that id. ranges: as `pieces` makes them.

        more: is stored beside it. Raises `UnknownLifetimeError`.
        """
        changes: dict[str, Put | None] = {_QUEUE + job: Put(as_json(facts))}
        changes |= {f"{_RANGES}{job}/{number:05}": Put(piece) for number, piece in enumerate(ranges)}
        outcome = await self._keys.commit({_QUEUE + job: 0, _ENDED + job: 0}, {**changes, **more})
        return isinstance(outcome, Committed)

    async def open(self) -> list[Header]:
        """Jobs that have not ended; the oldest first, if their ids begin with a time."""
        found = [Header(*one) for one in await all_of(self._keys, _QUEUE)]
        # Others may have ended some.
        for known in (self._plans, self._final):
            for job in known.keys() - {one.job for one in found}:
                del known[job]
        return found

    async def ended(self) -> list[Header]:
        return [Header(job, facts, 0) for job, facts, _ in await all_of(self._keys, _ENDED)]

    async def plan(self, header: Header) -> JobPlan | None:
        """What an open job asks for; None if it ends just now."""
        plan = self._plans.get(header.job)
        if plan is None:
            pieces = await all_of(self._keys, f"{_RANGES}{header.job}/")
            ranges = [
                WantedRange(series, Span(start, end))
                for _, piece, _ in pieces
                for series, start, end in piece["ranges"]
            ]
            plan = JobPlan(ranges, SHARD_STEPS)
            if len(plan) != header.facts["shards"]:
                return None
            while len(self._plans) >= _PLANS:
                self._plans.pop(next(iter(self._plans)))
            self._plans[header.job] = plan
        return plan

    async def blocks(self, header: Header) -> list[StoredBlock]:
        """All of an open job that are not known to be final."""
        final = self._final.setdefault(header.job, [])
        last = f"{_BLOCKS}{header.job}/{len(final) - 1:05}" if final else ""
        stored = {
            int(name): (block_of(facts), revision)
            for name, facts, revision in await all_of(self._keys, f"{_BLOCKS}{header.job}/", after=last)
        }
        while (found := stored.get(len(final))) is not None and found[0].is_final:
            final.append(stored.pop(len(final))[0].counts)
        shards = header.facts["shards"]
        return [
            StoredBlock(number, *(stored.get(number) or (Block.new(min(BLOCK, shards - number * BLOCK)), 0)))
            for number in range(len(final), -(-shards // BLOCK))
        ]

    async def stored(self, header: Header) -> dict[int, Block]:
        """All blocks of an open job that are stored, by number."""
        found = await all_of(self._keys, f"{_BLOCKS}{header.job}/")
        return {int(name): block_of(facts) for name, facts, _ in found}

    async def block(self, header: Header, number: int) -> StoredBlock:
        for name, facts, revision in await all_of(self._keys, f"{_BLOCKS}{header.job}/{number:05}"):
            assert not name
            return StoredBlock(number, block_of(facts), revision)
        return StoredBlock(number, Block.new(min(BLOCK, header.facts["shards"] - number * BLOCK)), 0)

    async def counts(self, header: Header) -> tuple[Counts, list[Failures]]:
        """Also of each shard that waits because its source was away, why."""
        if not header.is_open:
            return Counts(*header.facts["counts"]), []
        blocks = [stored.block for stored in await self.blocks(header)]
        counts = sum_of([*self._final.get(header.job, ()), *(block.counts for block in blocks)])
        return counts, [one for block in blocks for one in block.away()]

    async def store(
        self,
        header: Header,
        before: StoredBlock,
        block: Block,
        expected: Mapping[str, int],
        more: Mapping[str, Put | None],
    ) -> Committed | Conflict:
        """Store a block, if it is as before, and the job open; else nothing.

        expected: what else has to be as it was. more: is stored beside it. Raises `UnknownLifetimeError`.
        """
        key = f"{_BLOCKS}{header.job}/{before.number:05}"
        return await self._keys.commit(
            {key: before.revision, _QUEUE + header.job: header.revision, **expected},
            {key: Put(as_json(block_json(block))), **more},
        )

    async def cancel(self, header: Header, more: Mapping[str, Put | None]) -> bool:
        """Whether it is cancelled from now on: it was as it had been read. more: as in `add`.

        Whoever has read it before can take nothing of it any more. Raises `UnknownLifetimeError`.
        """
        facts = {**header.facts, "cancelled": self._clock.now() / SECOND}
        changes = {_QUEUE + header.job: Put(as_json(facts)), **more}
        outcome = await self._keys.commit({_QUEUE + header.job: header.revision}, changes)
        return isinstance(outcome, Committed)

    async def close(self, header: Header, counts: Counts, more: Mapping[str, Put | None]) -> Counts | None:
        """The job ends, with these counts; None if it is not as it was. more: stored beside it."""
        violations = await self.violations(header)
        facts = {
            **header.facts,
            "ended": "cancelled" if header.is_cancelled else "completed",
            "end": header.facts.get("cancelled", self._clock.now() / SECOND),
            "counts": counts,
            "violations": violations,
        }
        try:
            lifetime = await self._lifetimes.of(REMEMBERED_S)
            outcome = await self._keys.commit(
                {_QUEUE + header.job: header.revision},
                {
                    _QUEUE + header.job: None,
                    _ENDED + header.job: Put(as_json(facts), lifetime),
                    _LEFTOVERS + header.job: Put(b"{}"),
                    **more,
                },
            )
        except UnknownLifetimeError:
            self._lifetimes.forget()
            return None
        self._plans.pop(header.job, None)
        self._final.pop(header.job, None)
        return counts if isinstance(outcome, Committed) else None

    async def violations(self, header: Header) -> list[dict[str, Any]]:
        """`{lease_key, attempts, why}` of the first of them."""
        if not header.is_open:
            return list(header.facts["violations"])
        return list(islice(await self._violations(header), MOST_VIOLATIONS))

    async def _violations(self, header: Header) -> Iterator[dict[str, Any]]:
        plan = await self.plan(header)
        found = (
            (number * BLOCK + within, failed)
            for number, block in (await self.stored(header)).items()
            for within, failed in block.violations()
        )
        return (
            {
                "lease_key": str(LeaseKey(header.facts["store"], plan[n].series, plan[n].shard)),
                "attempts": failed.in_all,
                "why": failed.why,
            }
            for n, failed in found
            if plan is not None
        )

    async def tidy(self) -> None:
        """Take away what is left over of jobs that have ended."""
        for job, _, _ in await all_of(self._keys, _LEFTOVERS):
            for prefix in (f"{_RANGES}{job}/", f"{_BLOCKS}{job}/"):
                while page := await self._keys.page(prefix, most=_DELETED_AT_ONCE):
                    await self._keys.commit({}, {key: None for key, _ in page})
            await self._keys.commit({}, {_LEFTOVERS + job: None})


def pieces(ranges: Sequence[WantedRange]) -> list[bytes]:
    rows = [[one.series, *one.span] for one in ranges]
    return [as_json({"ranges": rows[first : first + _PIECE]}) for first in range(0, len(rows), _PIECE)]
