"""Shards of a job: a machine of random steps beside a naive list of dictionaries, and single stories."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from qmtl.runtime.coordination.job_blocks import (
    Block,
    Claim,
    Counts,
    Failures,
    Outcome,
    ShardState,
    block_json,
    block_of,
    end,
    expire,
    free,
    sum_of,
    take,
)

SHARDS, WORKERS = 4, 3
shard_number, worker_number = st.integers(0, SHARDS - 1), st.integers(0, WORKERS - 1)


class BesideANaiveOne(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.block = Block.new(SHARDS)
        self.naive: list[dict[str, Any]] = [
            {"state": "queued", "by": None, "fails": 0, "away": 0, "rests": 0.0} for _ in range(SHARDS)
        ]
        self.now = 0.0
        self.takes = 0

    @rule(seconds=st.sampled_from([0.5, 1.0, 10.0, 300.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(worker=worker_number, may=st.sets(shard_number), prefers_fresh=st.booleans())
    def take(self, worker: int, may: set[int], prefers_fresh: bool) -> None:
        self.takes += 1
        claim = Claim(f"w{worker}", f"s{worker}", f"t{self.takes}", self.now)
        queued = [n for n, one in enumerate(self.naive) if one["state"] == "queued" and n in may]
        has_failed = {n for n in queued if self.naive[n]["fails"] or self.naive[n]["away"]}
        fresh = [n for n in queued if n not in has_failed]
        again = [n for n in queued if n in has_failed and self.naive[n]["rests"] <= self.now]
        again.sort(key=lambda n: self.naive[n]["rests"])
        found = free(self.block, may.__contains__, now=self.now)
        assert found == ((fresh or [None])[0], (again or [None])[0])
        number = found.fresh if prefers_fresh else found.again
        if number is not None:
            self.block = take(self.block, number, claim)
            self.naive[number] |= {"state": "claimed", "by": claim}

    @rule(number=shard_number, outcome=st.sampled_from([*Outcome, *[Outcome.AWAY] * 4]), mine=st.booleans())
    def end(self, number: int, outcome: Outcome, mine: bool) -> None:
        one = self.naive[number]
        holds = one["state"] == "claimed" and mine
        take_id = one["by"].take_id if holds else "of another claim"
        found = end(self.block, number, take_id, outcome, "a reason", now=self.now)
        if not holds:
            is_done = one["state"] == "done" and outcome is Outcome.DONE
            assert found == (self.block if is_done else None)
            return
        assert found is not None
        self.block = found
        self.free(one, outcome)

    @rule(worker=worker_number)
    def expire(self, worker: int) -> None:
        self.block = expire(self.block, f"s{worker}", now=self.now)
        for one in self.naive:
            if one["state"] == "claimed" and one["by"].session == f"s{worker}":
                self.free(one, Outcome.FAILED)

    def free(self, one: dict[str, Any], outcome: Outcome) -> None:
        one |= {"state": "queued", "by": None}
        if outcome is Outcome.DONE:
            one |= {"state": "done", "fails": 0, "away": 0}
        elif outcome is Outcome.FAILED:
            one |= {"fails": one["fails"] + 1, "away": 0}
            one["rests"] = self.now + 2 ** min(one["fails"] - 1, 3)
            if one["fails"] == 5:
                one["state"] = "violation"
        elif outcome is Outcome.AWAY:
            one["away"] += 1
            one["rests"] = self.now + min(300.0, 5.0 * 2 ** (one["away"] - 1))
            if one["away"] == 18:
                one["state"] = "violation"

    @invariant()
    def both_agree(self) -> None:
        block = self.block
        assert [state.value for state in block.states] == [one["state"] for one in self.naive]
        assert [block.claims.get(n) for n in range(SHARDS)] == [one["by"] for one in self.naive]
        failures = [block.failures.get(n, Failures(0, "", 0.0)) for n in range(SHARDS)]
        assert [one.attempts for one in failures] == [one["fails"] for one in self.naive]
        assert [one.away for one in failures] == [one["away"] for one in self.naive]
        waiting = [one for one in self.naive if one["state"] != "violation" and one["away"]]
        assert len(list(block.away())) == len(waiting)
        assert block.is_final == all(one["state"] in ("done", "violation") for one in self.naive)
        assert sum(block.counts) == SHARDS
        assert {n for n, _ in block.violations()} == {
            n for n, one in enumerate(self.naive) if one["state"] == "violation"
        }
        assert block_of(json.loads(json.dumps(block_json(block)))) == block


def test_beside_a_naive_one() -> None:
    run_state_machine_as_test(
        BesideANaiveOne, settings=settings(max_examples=200, stateful_step_count=60, deadline=None)
    )


@pytest.mark.parametrize(
    ("outcome", "attempts", "shortest_s", "longest_s"),
    [(Outcome.FAILED, 5, 15, 15), (Outcome.AWAY, 18, 3_600, 3_700)],
)
def test_a_shard_that_always_fails_ends_with_its_reason_and_stops_no_other(
    outcome: Outcome, attempts: int, shortest_s: float, longest_s: float
) -> None:
    block, now = Block.new(2), 0.0
    for attempt in range(attempts):
        assert 0 in free(block, lambda number: number == 0, now=now)
        taken = take(block, 0, Claim("w", "s", f"t{attempt}", now))
        after = end(taken, 0, f"t{attempt}", outcome, "no such symbol" * 100, now=now)
        assert after is not None
        block, ended_at, now = after, now, after.failures[0].not_before
    assert shortest_s <= ended_at <= longest_s
    assert block.states == (ShardState.VIOLATION, ShardState.QUEUED)
    ((number, failed),) = block.violations()
    assert (number, failed.in_all, len(failed.why)) == (0, attempts, 500)
    assert free(block, lambda _: True, now=now) == (1, None)


def test_a_source_that_is_away_costs_no_attempt_and_is_counted_in_a_row() -> None:
    """And what coordinators stored before they counted that is read all the same."""
    block, now = block_of({"states": "q", "failures": {"0": [4, "once", 0.0]}}), 0.0
    for number, outcome in enumerate([*[Outcome.AWAY] * 17, Outcome.FAILED]):
        block = take(block, 0, Claim("w", "s", f"t{number}", now))
        after = end(block, 0, f"t{number}", outcome, "why", now=now)
        assert after is not None
        block = after
        assert (block.states[0] is ShardState.VIOLATION) == (outcome is Outcome.FAILED)
    assert block.failures[0][0] == 5


def test_counts_add_up() -> None:
    assert sum_of([]) == Counts(0, 0, 0, 0)
    assert sum_of([Block.new(3).counts, Block((ShardState.DONE,)).counts]) == Counts(3, 0, 1, 0)
