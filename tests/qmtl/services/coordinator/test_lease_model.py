"""Whatever gets lost, comes late or twice, or succeeds although it timed out: no shard has two holders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from qmtl.foundation.leases import Lease, LeaseKey, LeaseState, ShardProgress
from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.coordination.lease_keeping import MOST_ATTEMPTS
from qmtl.runtime.coordination.lease_records import record_of
from qmtl.runtime.coordination.shard_leases import Done, Granted, ShardRequest
from qmtl.services.coordinator.key_values import Put
from qmtl.services.coordinator.lease_service import SHARDS, LeaseService
from tests.qmtl.services.coordinator.memory_keys import UNAVAILABLE, Call, CallsOf, MemoryKeys, Work

# Runs of the machine, and most steps of each: together more than 10^5 are made.
RUNS, STEPS = 570, 240

SERIES = "ohlcv:test:A:1m"
SHARDS_THERE, WORKERS, COORDINATORS = 3, 3, 2
TTL_S = 10
# A holder stops when this part of the lifetime has passed by its own clock; clocks drift by a tenth at most.
MARGIN = 0.8
DRIFTS = (0.9, 1.0, 1.1)

# What becomes of a call to the database.
ANSWERED, LOST, DONE_BUT_LOST, LATE = "answered", "lost", "done, but the answer is lost", "late"


class DriftingClock:
    """Runs faster or slower than the database's time."""

    def __init__(self, keys: MemoryKeys, rate: float) -> None:
        self._keys = keys
        self._rate = rate

    def monotonic(self) -> float:
        return self._keys.now * self._rate

    def now(self) -> int:
        return round(self._keys.now * self._rate * 1e9)

    def new_event_loop(self) -> Any:
        raise AssertionError("nothing waits here")


@dataclass
class Worker:
    """What a worker believes. held: of each shard the claim, its session, and until when by its own clock.

    owed: claims it has given up; it goes on to say so until it is heard.
    """

    name: str
    clock: DriftingClock
    held: dict[LeaseKey, tuple[str, str, float]] = field(default_factory=dict)
    owed: set[str] = field(default_factory=set)
    last: int = 0

    def believes(self, key: LeaseKey) -> bool:
        return key in self.held and self.clock.monotonic() < self.held[key][2]


def key_of(shard: int) -> LeaseKey:
    return LeaseKey("store", SERIES, shard)


KEYS = [key_of(shard) for shard in range(SHARDS_THERE)]
shards = st.lists(st.integers(0, SHARDS_THERE - 1), min_size=1, max_size=3, unique=True)
number = st.integers(0, 1_000)
worker_number = st.integers(0, WORKERS - 1)
coordinator_number = st.integers(0, COORDINATORS - 1)


class LeaseMachine(RuleBasedStateMachine):
    """steps: how many were made, in all runs; runs that Hypothesis gave up on the way included."""

    steps = 0

    @initialize(rates=st.lists(st.sampled_from(DRIFTS), min_size=5, max_size=5))
    def begin(self, rates: list[float]) -> None:
        self.keys = MemoryKeys()
        self.keys.on_commit = self._check_changes
        clocks = [DriftingClock(self.keys, rate) for rate in rates]
        self.workers = [Worker(f"w{n}", clocks[n]) for n in range(WORKERS)]
        self.clocks = clocks[WORKERS:]
        self.services = [LeaseService(CallsOf(), clock) for clock in self.clocks]  # type: ignore[arg-type]
        self.works: list[Work] = []
        self.late: list[tuple[Work, Call]] = []
        self.completed: list[tuple[LeaseKey, Coverage, int]] = []
        self.commits = 100

    # -- what workers do --------------------------------------------------------------------------------

    @rule(who=worker_number, at=coordinator_number, wanted=shards, end=st.integers(1, 3), twice=st.booleans())
    def claim(self, who: int, at: int, wanted: list[int], end: int, twice: bool) -> None:
        worker = self.workers[who]
        worker.last += 1
        claim_id = f"{worker.name}.{worker.last}"
        cells = Coverage.of(Span(0, end))
        read_as_of = self.commits - 5
        requests = [ShardRequest(key_of(shard), cells, read_as_of) for shard in wanted]
        facts = {"kind": "claim", "worker": worker, "claim": claim_id, "sent": worker.clock.monotonic()}
        facts |= {"cells": cells, "read_as_of": read_as_of, "at": at, "twice": twice}
        for copy in range(1 + twice):
            # It has asked again, and hears one of the answers.
            self._start(
                at, "claim", worker.name, claim_id, requests, ttl_s=TTL_S, heard=copy == 0, facts=facts
            )

    @rule(who=worker_number, at=coordinator_number, wanted=shards)
    def claim_without_trouble(self, who: int, at: int, wanted: list[int]) -> None:
        self.claim(who, at, wanted, 1, twice=False)
        work = next((work for work in reversed(self.works) if work.facts.get("kind") == "claim"), None)
        while work is not None and not work.is_done:
            self._answer(work, ANSWERED)

    @rule(who=worker_number, at=coordinator_number, done=st.integers(0, 9))
    def renew(self, who: int, at: int, done: int) -> None:
        worker = self.workers[who]
        claims = {key: claim for key, (claim, _, _) in worker.held.items()}
        facts = {"kind": "renew", "worker": worker, "sent": worker.clock.monotonic(), "claims": claims}
        progress = ShardProgress(done, 9) if claims else None
        self._start(at, "renew", worker.name, claims, progress, facts=facts)

    @rule(who=worker_number, at=coordinator_number, which=number, twice=st.booleans())
    def complete(self, who: int, at: int, which: int, twice: bool) -> None:
        worker = self.workers[who]
        mine = [key for key in worker.held if worker.believes(key)]
        if not mine:
            return
        claim_id = worker.held[mine[which % len(mine)]][0]
        keys = [key for key in mine if worker.held[key][0] == claim_id]
        self.commits += 1
        for _ in range(1 + twice):
            self._start(at, "complete", worker.name, claim_id, keys, as_of=self.commits, heard=False)
        for key in keys:
            del worker.held[key]
        worker.owed.add(claim_id)

    @rule(who=worker_number, at=coordinator_number, which=number)
    def fail(self, who: int, at: int, which: int) -> None:
        worker = self.workers[who]
        owed = sorted(worker.owed | {claim for claim, _, _ in worker.held.values()})
        if owed:
            self._give_up(worker, owed[which % len(owed)], at)

    def _give_up(self, worker: Worker, claim_id: str, at: int) -> None:
        worker.held = {key: grant for key, grant in worker.held.items() if grant[0] != claim_id}
        worker.owed.add(claim_id)
        facts = {"kind": "fail", "worker": worker, "claim": claim_id}
        self._start(at, "fail", worker.name, claim_id, KEYS, why="given up", facts=facts)

    @rule(which=number, at=coordinator_number)
    def stop_waiting(self, which: int, at: int) -> None:
        """A worker has waited long enough for the answer to a claim."""
        waiting = [work for work in self.works if work.facts.get("kind") == "claim" and work.facts["heard"]]
        if waiting:
            work = waiting[which % len(waiting)]
            work.facts["heard"] = False
            self._give_up(work.facts["worker"], work.facts["claim"], at)

    # -- what coordinators, networks and clocks do ------------------------------------------------------

    @rule(which=number, how=st.sampled_from([ANSWERED] * 7 + [LOST, DONE_BUT_LOST, LATE]))
    def answer(self, which: int, how: str) -> None:
        if self.works:
            self._answer(self.works[which % len(self.works)], how)

    @rule(which=number)
    def answer_all(self, which: int) -> None:
        """One piece of work comes to its end without trouble."""
        if self.works:
            work = self.works[which % len(self.works)]
            while not work.is_done:
                self._answer(work, ANSWERED)

    @rule(which=number)
    def come_late(self, which: int) -> None:
        if self.late:
            work, call = self.late.pop(which % len(self.late))
            work.make(self.keys, call)

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 8.0, 10.5]))
    def pass_time(self, seconds: float) -> None:
        self.keys.pass_time(seconds)

    @rule(at=coordinator_number)
    def sweep(self, at: int) -> None:
        self._start(at, "sweep")

    @rule(at=coordinator_number)
    def replace_coordinator(self, at: int) -> None:
        """It knows nothing of what the one before it knew, which may still be at work."""
        self.services[at] = LeaseService(CallsOf(), self.clocks[at])  # type: ignore[arg-type]

    # -- what must hold ---------------------------------------------------------------------------------

    @invariant()
    def nobody_else_believes_to_hold_it(self) -> None:
        LeaseMachine.steps += 1  # it is checked after each step
        for key in KEYS:
            assert sum(worker.believes(key) for worker in getattr(self, "workers", ())) <= 1, key

    def _check_changes(self, changes: Mapping[str, Put | None]) -> None:
        for name, put in changes.items():
            if not name.startswith(SHARDS):
                continue
            assert put is not None
            key = LeaseKey.parse(name.removeprefix(SHARDS))
            entry = self.keys.entries.get(name)
            after = record_of(key, json.loads(put.value))
            assert after.lease.attempts <= MOST_ATTEMPTS
            assert (after.lease.state is LeaseState.HELD) == (put.lifetime is None), (
                "a holder is not forgotten"
            )
            if entry is None:
                assert after.lease.state is LeaseState.HELD
                continue
            before = record_of(key, json.loads(entry.value))
            self._check_change(before.lease, before.session, after.lease)
            if after.lease.state is LeaseState.COMPLETED:
                assert after.lease.as_of is not None
                self.completed.append((key, after.lease.cells, after.lease.as_of))

    def _check_change(self, before: Lease, session: str, after: Lease) -> None:
        owner = (before.holder, before.claim_id)
        lives = self._session_of(before.holder or "") == session
        if before.state is LeaseState.HELD and lives:
            assert (after.holder, after.claim_id) == owner, "what is held was given to somebody else"
        if after.state is LeaseState.COMPLETED:
            assert before.state is LeaseState.HELD
            assert lives, "completed by a worker whose session has ended"
        if after.state is LeaseState.ABANDONED:
            assert after.violation is not None
            assert after.attempts == MOST_ATTEMPTS
        if before.violation is not None and after.state is not LeaseState.COMPLETED:
            assert after.violation is not None, "forgotten before somebody completed it"

    def _session_of(self, worker: str) -> str | None:
        entry = self.keys.entries.get(f"sessions/{worker}")
        return None if entry is None else json.loads(entry.value)["id"]

    def teardown(self) -> None:
        if not hasattr(self, "keys"):
            return
        self._settle()
        records = [record_of(LeaseKey.parse(n.removeprefix(SHARDS)), json.loads(e.value))
                   for n, e in self.keys.entries.items() if n.startswith(SHARDS)]  # fmt: skip
        claims = {claim for worker in self.workers for claim, _, _ in worker.held.values()}
        for record in records:
            lives = self._session_of(record.lease.holder or "") == record.session
            if record.lease.state is LeaseState.HELD and lives:
                assert record.lease.claim_id in claims, "held for a claim that was given up"
        self.keys.pass_time(TTL_S)
        self._start(0, "sweep")
        self._settle()
        requests = [ShardRequest(key, Coverage.of(Span(0, 3)), 10**6) for key in KEYS]
        work = self._start(0, "claim", "fresh", "fresh.1", requests, ttl_s=TTL_S)
        self._settle()
        assert all(isinstance(answer, Granted) for answer in work.result.answers), "a shard is held by nobody"

    def _settle(self) -> None:
        """The network is whole again: what is on its way comes, and what workers owe is said."""
        while self.works or self.late:
            while self.works:
                self._answer(self.works[0], ANSWERED)
            while self.late:
                self.come_late(0)
        for worker in self.workers:
            for claim_id in sorted(worker.owed):
                self._give_up(worker, claim_id, 0)
        while self.works:
            self._answer(self.works[0], ANSWERED)

    # -- how it is driven -------------------------------------------------------------------------------

    def _start(
        self, at: int, what: str, *args: Any, heard: bool = True, facts: Any = None, **options: Any
    ) -> Work:
        work = Work(getattr(self.services[at], what)(*args, **options))
        work.facts = {**(facts or {}), "heard": heard}
        work.go_on()
        self.works.append(work)
        self._finish(work)
        return work

    def _answer(self, work: Work, how: str) -> None:
        call = work.call
        assert call is not None
        if how is ANSWERED:
            found = work.make(self.keys, call)
            if isinstance(found, Exception):
                work.go_on(error=found)
            else:
                work.go_on(found)
        else:
            if how is DONE_BUT_LOST:
                work.make(self.keys, call)
            elif how is LATE:
                self.late.append((work, call))
            work.go_on(error=UNAVAILABLE)
        self._finish(work)

    def _finish(self, work: Work) -> None:
        if not work.is_done:
            return
        self.works.remove(work)
        facts = work.facts
        if facts.get("kind") == "fail" and work.error is None:
            facts["worker"].owed.discard(facts["claim"])
        if not facts["heard"] or "kind" not in facts:
            return
        worker: Worker = facts["worker"]
        if work.error is not None:
            if facts["kind"] == "claim":
                worker.owed.add(facts["claim"])
            return
        if facts["kind"] == "claim":
            self._hear_claim(worker, work)
        elif facts["kind"] == "renew":
            self._hear_renewal(worker, work)

    def _hear_claim(self, worker: Worker, work: Work) -> None:
        facts, found = work.facts, work.result
        until = facts["sent"] + MARGIN * found.status.expires_in_s
        if facts["twice"] and not all(isinstance(answer, Granted) for answer in found.answers):
            # The other message may yet be granted what this one was not.
            self._give_up(worker, facts["claim"], facts["at"])
            return
        for answer in found.answers:
            if isinstance(answer, Granted):
                worker.held[answer.key] = facts["claim"], found.status.session.id, until
            elif isinstance(answer, Done):
                assert answer.as_of > facts["read_as_of"]
                assert any(
                    key == answer.key and as_of == answer.as_of and not facts["cells"] - cells
                    for key, cells, as_of in self.completed
                ), "nobody has completed these cells then"

    def _hear_renewal(self, worker: Worker, work: Work) -> None:
        facts, found = work.facts, work.result
        for key in found.lost:
            if key in worker.held and worker.held[key][0] == facts["claims"][key]:
                del worker.held[key]
                # A copy of its claim may still be on its way.
                worker.owed.add(facts["claims"][key])
        if found.status is None:
            return
        until = facts["sent"] + MARGIN * found.status.expires_in_s
        for key, (claim, session, before) in list(worker.held.items()):
            if session == found.status.session.id:
                worker.held[key] = claim, session, max(before, until)


def test_no_order_of_events_breaks_a_promise() -> None:
    LeaseMachine.steps = 0
    run_state_machine_as_test(LeaseMachine, settings=settings(max_examples=RUNS, stateful_step_count=STEPS))
    print(f"{LeaseMachine.steps:,} steps of the model of leases")  # noqa: T201 - said with -s, or on failure
    assert LeaseMachine.steps >= 10**5
