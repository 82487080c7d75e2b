"""Jobs for workers on many machines: queued once, taken shard by shard, ended by those who took them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.leases import LeaseKey
from qmtl.foundation.times import SECOND
from qmtl.runtime.coordination import job_blocks
from qmtl.runtime.coordination.job_blocks import BLOCK, Block, Claim, Counts, Failures, Outcome, ShardState
from qmtl.runtime.coordination.job_plans import JobPlan, WantedRange
from qmtl.runtime.io.store.fencing import SHARD_STEPS
from qmtl.services.coordinator.history import History
from qmtl.services.coordinator.job_events import JobEvent, ended
from qmtl.services.coordinator.job_store import Header, JobStore, StoredBlock, pieces
from qmtl.services.coordinator.job_taking import Choice, Take, Taken, choices, shard_of
from qmtl.services.coordinator.json_entries import contended
from qmtl.services.coordinator.key_values import Committed, Conflict, KeyValues, Put, UnknownLifetimeError
from qmtl.services.coordinator.last_takes import LastTakes
from qmtl.services.coordinator.sessions import SESSIONS, Sessions, SessionStatus

# A job is written by one commit, of which etcd takes 1.5 MB.
MOST_SHARDS, MOST_BYTES = 200_000, 1_000_000

_TRIES = 12
_UNTOUCHED = Block.new(BLOCK)


class Job(NamedTuple):
    """away: of each shard that waits because its source was away."""

    header: Header
    counts: Counts
    away: Sequence[Failures]
    violations: Sequence[Mapping[str, Any]] = ()


class ListedShard(NamedTuple):
    number: int
    lease_key: str
    state: ShardState
    claim: Claim | None
    failures: Failures | None


class JobService:
    """Many may serve one database. `on_event` hears of every step that was committed here.

    refuse_other: raises an error for a store of which there are no jobs here.
    """

    def __init__(
        self,
        keys: KeyValues,
        clock: Clock,
        sessions: Sessions,
        history: History,
        on_event: Callable[[JobEvent], None] = lambda _: None,
        refuse_other: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._sessions = sessions
        self._on_event = on_event
        self._refuse_other = refuse_other
        self._history = history
        self._store = JobStore(keys, clock, history.lifetimes)
        self._takes = LastTakes(keys)
        # Workers that ask here at one time would only contend for the same block.
        self._taking = asyncio.Lock()

    # -- what people ask --------------------------------------------------------------------------------

    async def queue(self, job: str, store: str, by: str, ranges: Sequence[WantedRange]) -> Job:
        """Queue a job; one of that id and content that is there already is answered again."""
        self._refuse_other(store)
        plan, stored = JobPlan(ranges, SHARD_STEPS), pieces(ranges)
        if len(plan) > MOST_SHARDS or sum(map(len, stored)) > MOST_BYTES:
            raise InvalidRequestError(
                f"the job is too large: {len(plan):,} shards, and {sum(map(len, stored)):,} bytes of ranges",
                why=f"a job may have {MOST_SHARDS:,} shards, and its ranges may take {MOST_BYTES:,} bytes",
                next_step="queue it as several jobs",
            )
        facts = {"store": store, "by": by, "at": self._now(), "shards": len(plan), "asks": _digest(stored)}
        queued = JobEvent("queued", job, {"shards": len(plan), "by": by})
        if await self._added(job, facts, stored, queued):
            self._on_event(queued)
            return Job(Header(job, facts, 0), Counts(len(plan), 0, 0, 0), ())
        found = await self.job(job)
        same = ("store", "by", "asks")
        if found is None or any(found.header.facts.get(name) != facts[name] for name in same):
            raise InvalidRequestError(
                f"there is another job {job}",
                why="it is of another store, of somebody else, or asks for other ranges",
                next_step="give this one another id",
            )
        return found

    async def _added(
        self, job: str, facts: Mapping[str, Any], ranges: Sequence[bytes], queued: JobEvent
    ) -> bool:
        for _ in range(_TRIES):
            try:
                return await self._store.add(job, facts, ranges, await self._trail(queued))
            except UnknownLifetimeError:
                self._history.lifetimes.forget()
        raise contended(self._keys, _TRIES)

    async def jobs(self) -> list[Job]:
        """Those that are open, and those that ended lately; the oldest first."""
        headers = {one.job: one for one in [*await self._store.open(), *await self._store.ended()]}
        return [await self._job(one) for _, one in sorted(headers.items())]

    async def job(self, job: str) -> Job | None:
        """With its violations."""
        for one in [*await self._store.open(), *await self._store.ended()]:
            if one.job == job:
                return (await self._job(one))._replace(violations=await self._store.violations(one))
        return None

    async def _job(self, header: Header) -> Job:
        return Job(header, *await self._store.counts(header))

    async def shards(self, job: str, *, after: int, most: int) -> list[ListedShard] | None:
        """Of an open job, those behind that number; None if there is none of that id."""
        header = await self._open(job)
        plan = None if header is None else await self._store.plan(header)
        if header is None or plan is None:
            return None
        stored, store = await self._store.stored(header), header.facts["store"]
        found: list[ListedShard] = []
        for number in range(after + 1, min(len(plan), after + 1 + most)):
            block, within = stored.get(number // BLOCK, _UNTOUCHED), number % BLOCK
            shard = plan[number]
            found.append(
                ListedShard(
                    number,
                    str(LeaseKey(store, shard.series, shard.shard)),
                    block.states[within],
                    block.claims.get(within),
                    block.failures.get(within),
                )
            )
        return found

    async def cancel(self, job: str) -> Job | None:
        """Nobody takes its shards any more. None: there is no such job.

        What is claimed goes on, and counts as what becomes of it.
        """
        for _ in range(_TRIES):
            header = await self._open(job)
            if header is None or header.is_cancelled:
                if header is not None:
                    await self._ended(header)
                return await self.job(job)
            cancelled = JobEvent("cancelled", job, {})
            try:
                if await self._store.cancel(header, await self._trail(cancelled)):
                    self._on_event(cancelled)
            except UnknownLifetimeError:
                self._history.lifetimes.forget()
        raise contended(self._keys, _TRIES)

    # -- what workers ask -------------------------------------------------------------------------------

    async def take(self, asked: Take) -> tuple[Taken | None, SessionStatus]:
        """The next shard that this worker may work on, held in its session; None if there is none now."""
        self._refuse_other(asked.store)
        async with self._taking:
            for _ in range(_TRIES):
                status = await self._sessions.begun(asked.worker, asked.ttl_s)
                found = await self._take(asked, status.session.id)
                if not isinstance(found, Conflict):
                    return found, status
                self._sessions.correct(found.current)
                self._takes.correct(found.current)
        raise contended(self._keys, _TRIES)

    async def _take(self, asked: Take, session: str) -> Taken | Conflict | None:
        # As it is known now, when it is decided on: another take of the worker may come between.
        expected = {**self._sessions.expected(asked.worker), **self._takes.expected(asked.worker)}
        given = self._takes.of(asked.worker)
        if given is not None and given["take_id"] == asked.take_id:
            return await self._given_again(asked, given)
        if given is not None and None not in (asked.turn, given["turn"]) and asked.turn <= given["turn"]:
            return None  # it has been answered since, and has asked for another
        choice = await self._choice(asked)
        if choice is None:
            return None
        taken = choice.taken
        claim = Claim(asked.worker, session, asked.take_id, self._now())
        block = job_blocks.take(choice.stored.block, choice.within, claim)
        event = _event("taken", taken, worker=asked.worker)
        outcome = await self._store_taken(asked, session, expected, choice, block, taken, event)
        if isinstance(outcome, Conflict):
            return outcome
        self._on_event(event)
        return taken

    async def _choice(self, asked: Take) -> Choice | None:
        again: Choice | None = None
        for header in await self._store.open():
            plan = await self._store.plan(header) if header.facts["store"] == asked.store else None
            if plan is None:
                continue
            if header.is_cancelled:
                await self._ended(header)
                continue
            blocks = await self._store.blocks(header)
            if not blocks:
                await self._ended(header)
            found = choices(header, plan, blocks, asked, now=self._now())
            if found.again is not None and asked.prefers_again:
                return found.again
            if found.fresh is not None:
                return found.fresh
            again = again or found.again
        return again

    async def _store_taken(
        self,
        asked: Take,
        session: str,
        expected: Mapping[str, int],
        choice: Choice,
        block: Block,
        taken: Taken,
        event: JobEvent,
    ) -> Committed | Conflict:
        given = {"take_id": asked.take_id, "turn": asked.turn, "job": taken.job, "number": taken.number}
        change = self._takes.change(asked.worker, given, session=session)
        try:
            more = {**change, **await self._trail(event)}
            outcome = await self._store.store(choice.header, choice.stored, block, expected, more)
        except UnknownLifetimeError:  # of its session, or of the trail
            self._takes.forget(asked.worker)
            self._history.lifetimes.forget()
            return Conflict({SESSIONS + asked.worker: None})
        if isinstance(outcome, Committed):
            self._takes.wrote(change, outcome.revision)
        return outcome

    async def _given_again(self, asked: Take, given: Mapping[str, Any]) -> Taken | Conflict | None:
        """What this request was given before; None if that has ended."""
        header = await self._open(given["job"])
        plan = None if header is None else await self._store.plan(header)
        if header is not None and plan is not None:
            block = (await self._store.block(header, given["number"] // BLOCK)).block
            claim = block.claims.get(given["number"] % BLOCK)
            if claim is not None and (claim.worker, claim.take_id) == (asked.worker, asked.take_id):
                return shard_of(header, plan, block, given["number"])
        # It is a guess that it was given anything: a session that has ended takes that with it.
        return await self._takes.checked(asked.worker)

    async def end(self, job: str, number: int, take_id: str, outcome: Outcome, why: str) -> bool:
        """An attempt ends; whether it was this one's to end."""
        for _ in range(_TRIES):
            header = await self._open(job)
            plan = None if header is None else await self._store.plan(header)
            if header is None or plan is None or number >= len(plan):
                return False
            stored = await self._store.block(header, number // BLOCK)
            within = number % BLOCK
            after = job_blocks.end(stored.block, within, take_id, outcome, why, now=self._now())
            if after is None:
                return False
            if after == stored.block:
                return True  # it was heard before
            taken = shard_of(header, plan, after, number)
            told = [
                _event(name, taken, **facts) for name, facts in ended(stored.block, after, within, outcome)
            ]
            if not await self._stored(header, stored, after, told):
                continue
            if after.is_final or header.is_cancelled:
                await self._ended(header)
            return True
        raise contended(self._keys, _TRIES)

    async def expire(self, session: str) -> None:
        """Free what was taken in a session that has ended."""
        for header in await self._store.open():
            plan = await self._store.plan(header)
            if plan is None:
                continue
            for stored in await self._store.blocks(header):
                await self._expire(header, plan, stored, session)
            if header.is_cancelled:
                await self._ended(header)

    async def _expire(self, header: Header, plan: JobPlan, stored: StoredBlock, session: str) -> None:
        for _ in range(_TRIES):
            before = stored.block
            after = job_blocks.expire(before, session, now=self._now())
            if after == before:
                return
            told = [
                _event(name, shard_of(header, plan, after, stored.number * BLOCK + within), **facts)
                for within in sorted(before.claims.keys() - after.claims.keys())
                for name, facts in ended(before, after, within, "expired")
            ]
            if await self._stored(header, stored, after, told):
                return
            stored = await self._store.block(header, stored.number)

    async def _stored(
        self, header: Header, before: StoredBlock, block: Block, told: Sequence[JobEvent]
    ) -> bool:
        """Whether the block was as before, and is stored, with what is told of it."""
        try:
            outcome = await self._store.store(header, before, block, {}, await self._trail(*told))
        except UnknownLifetimeError:
            self._history.lifetimes.forget()
            return False
        if isinstance(outcome, Conflict):
            return False
        for event in told:
            self._on_event(event)
        return True

    async def _trail(self, *events: JobEvent) -> dict[str, Put | None]:
        return await self._history.entry([event.step for event in events])

    async def tidy(self) -> None:
        """Take away what is left over of jobs that have ended."""
        await self._store.tidy()

    async def _ended(self, header: Header) -> None:
        """The job ends, if nobody is at work on it, and nobody may take anything of it."""
        counts, _ = await self._store.counts(header)
        if counts.claimed or (counts.queued and not header.is_cancelled):
            return
        facts = {"shards": header.facts["shards"], "violations": counts.violations}
        # That it was cancelled has been told.
        told = [] if header.is_cancelled else [JobEvent("completed", header.job, facts)]
        if await self._store.close(header, counts, await self._trail(*told)):
            for event in told:
                self._on_event(event)

    async def _open(self, job: str) -> Header | None:
        return next((one for one in await self._store.open() if one.job == job), None)

    def _now(self) -> float:
        return self._clock.now() / SECOND


def _digest(ranges: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(ranges)).hexdigest()


def _event(name: str, taken: Taken, **facts: Any) -> JobEvent:
    known = {"lease_key": taken.lease_key, "attempts": taken.attempts}
    return JobEvent(name, taken.job, {**known, **facts})
