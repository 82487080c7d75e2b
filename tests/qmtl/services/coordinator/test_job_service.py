"""Jobs in a database of the test: what two coordinators and some workers do to them, whatever is lost."""

from __future__ import annotations

import asyncio
import random

import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.coordination.job_blocks import BLOCK, PATIENCE, Outcome
from qmtl.runtime.coordination.job_plans import JobPlan, JobShard, WantedRange
from qmtl.services.coordinator.job_answers import job_json
from qmtl.services.coordinator.job_service import MOST_SHARDS
from qmtl.services.coordinator.job_taking import Taken
from tests.qmtl.services.coordinator.memory_coordinator import (
    SHARD,
    TTL_S,
    Coordinator,
    wanted,
)
from tests.qmtl.services.coordinator.memory_keys import MemoryKeys


def test_a_job_from_its_first_shard_to_its_last(coordinator: Coordinator, keys: MemoryKeys) -> None:
    coordinator.queue("a", wanted(3))
    assert coordinator.job("a").counts == (3, 0, 0, 0)
    spans = []
    for number in range(3):
        taken = coordinator.take("w", f"t{number}")
        assert taken is not None
        assert (taken.number, taken.shard.shard, taken.attempts) == (number, number, 0)
        assert coordinator.job("a").counts == (2 - number, 1, number, 0)
        assert coordinator.end(taken, f"t{number}")
        spans.append(taken.shard.span)
    assert spans[0].start == 5 * MINUTE
    assert [one.end for one in spans] == [SHARD, 2 * SHARD, 3 * SHARD - MINUTE]
    ended = coordinator.job("a")
    assert (ended.header.facts["ended"], ended.counts) == ("completed", (0, 0, 3, 0))
    assert [event.name for event in coordinator.events] == ["queued", *["taken", "done"] * 3, "completed"]
    coordinator.sweep()
    assert not [key for key in keys.entries if key.startswith(("ranges/", "blocks/", "leftovers/", "queue/"))]
    assert coordinator.job("a").counts == (0, 0, 3, 0), "that it was done is remembered"


def test_the_same_job_twice_is_one_and_another_of_its_id_is_refused(coordinator: Coordinator) -> None:
    coordinator.queue("a", wanted(3))
    assert coordinator.queue("a", wanted(3)).counts == (3, 0, 0, 0)
    others = [
        [wanted(4)],
        [WantedRange("ohlcv:test:B:1m", wanted(3).span)],
        [WantedRange("ohlcv:test:A:1m", Span(6 * MINUTE, 3 * SHARD - MINUTE))],
        [wanted(2), WantedRange("ohlcv:test:A:1m", Span(2 * SHARD, 3 * SHARD - MINUTE))],
    ]
    for other in others:
        with pytest.raises(InvalidRequestError, match="another job a"):
            coordinator.queue("a", *other)
    asyncio.run(coordinator.jobs.cancel("a"))
    with pytest.raises(InvalidRequestError, match="another job a"):
        coordinator.queue("a", *others[1])
    assert coordinator.queue("a", wanted(3)).header.facts["ended"] == "cancelled"
    assert [event.name for event in coordinator.events] == ["queued", "cancelled"]


def test_a_job_that_is_too_large_is_refused_before_anything_is_stored(
    coordinator: Coordinator, keys: MemoryKeys
) -> None:
    with pytest.raises(InvalidRequestError, match="too large: 200,001 shards"):
        coordinator.queue("a", wanted(MOST_SHARDS + 1))
    names = [WantedRange(f"ohlcv:test:{'x' * 150}{n}:1m", Span(0, MINUTE)) for n in range(9_000)]
    with pytest.raises(InvalidRequestError, match="too large: 9,000 shards"):
        coordinator.queue("a", *names)
    assert not keys.entries


def test_a_take_that_is_asked_again_is_given_the_same_shard(keys: MemoryKeys) -> None:
    one, two = Coordinator(keys), Coordinator(keys)
    one.queue("a", wanted(2))
    first = one.take("w", "t")
    assert first == two.take("w", "t") == one.take("w", "t")
    other = two.take("w", "another")
    assert first is not None
    assert other is not None
    assert (first.number, other.number) == (0, 1)


def test_a_take_that_comes_again_or_late_takes_nothing_more(keys: MemoryKeys) -> None:
    one, two = Coordinator(keys), Coordinator(keys)
    one.queue("b", wanted(3))
    first = one.take("w", "t", turn=0)
    one.queue("a", wanted(3))  # goes before the other by its id
    assert two.take("w", "t", turn=0) == first, "although a job before that one has shards"
    assert first is not None
    assert one.end(first, "t")
    assert two.take("w", "t", turn=0) is None, "it has ended"
    second = two.take("w", "u", turn=1)
    assert second is not None
    assert (first.job, second.job) == ("b", "a")
    assert one.take("w", "t", turn=0) is None, "the worker has asked for another since"
    assert one.take("w", "u", turn=1) == second
    keys.pass_time(TTL_S + 1)
    two.sweep()
    assert one.take("w", "v", turn=2) is not None, "in another session"
    assert (one.job("a").counts.claimed, one.job("b").counts) == (1, (2, 0, 1, 0))


def test_workers_take_of_their_store_and_venues_alone(coordinator: Coordinator) -> None:
    coordinator.queue("a", wanted(1, "binance"), wanted(1, "kraken"))
    coordinator.queue("b", wanted(1, "kraken"), store="another")
    assert coordinator.take("w", "t", "coin*") is None
    taken = coordinator.take("w", "t", "krak*")
    assert taken is not None
    assert (taken.job, taken.number) == ("a", 1)
    assert coordinator.take("w", "u", "krak*") is None
    assert coordinator.take("w", "v", store="another") is not None


def test_a_worker_of_other_venues_does_not_look_at_each_shard(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator.queue("a", wanted(MOST_SHARDS - 1, "kraken"), wanted(1, "binance"))
    looked: list[int] = []
    got = JobPlan.__getitem__

    def counted(self: JobPlan, number: int) -> JobShard:
        looked.append(number)
        return got(self, number)

    monkeypatch.setattr(JobPlan, "__getitem__", counted)
    assert coordinator.take("w", "t", "coin*") is None
    assert not looked
    assert coordinator.take("w", "u", "bin*") is not None
    assert len(looked) <= 2 * BLOCK


def test_jobs_that_others_have_ended_are_not_remembered(keys: MemoryKeys) -> None:
    one, two = Coordinator(keys), Coordinator(keys)
    for number in range(10):
        one.queue(f"a{number}", wanted(1))
        taken = two.take("w", f"t{number}")
        assert taken is not None
        assert one.end(taken, f"t{number}")
    assert two.take("w", "t") is None
    for service in (one.jobs, two.jobs):
        assert len(service._store._plans) + len(service._store._final) <= 2


def test_the_shard_of_a_dead_worker_is_taken_by_another_and_not_ended_by_it(
    coordinator: Coordinator, keys: MemoryKeys
) -> None:
    coordinator.queue("a", wanted(1))
    taken = coordinator.take("dead", "t")
    assert taken is not None
    coordinator.sweep()
    assert coordinator.take("w", "u") is None
    keys.pass_time(TTL_S + 1)
    coordinator.sweep()
    assert [event.name for event in coordinator.events][-1] == "expired"
    assert coordinator.events[-1].facts["why"] == "dead was not heard of in time"
    keys.pass_time(1)
    again = coordinator.take("w", "u")
    assert again is not None
    assert (again.number, again.attempts) == (0, 1)
    assert not coordinator.end(taken, "t"), "it is another's by now"
    assert coordinator.end(again, "u")
    assert not coordinator.end(taken, "t", Outcome.FAILED, "late")
    assert coordinator.job("a").counts == (0, 0, 1, 0)


def test_a_poisoned_shard_is_a_violation_and_the_others_are_done(
    coordinator: Coordinator, keys: MemoryKeys
) -> None:
    coordinator.queue("a", wanted(2))
    tries = 0
    while coordinator.job("a").header.is_open:
        taken = coordinator.take("w", f"t{tries}")
        if taken is None:
            keys.pass_time(1)
            continue
        outcome = Outcome.FAILED if taken.number == 0 else Outcome.DONE
        assert coordinator.end(taken, f"t{tries}", outcome, "no such symbol")
        tries += 1
        assert tries < 20
    assert tries == PATIENCE[Outcome.FAILED].attempts + 1
    job = coordinator.job("a")
    assert job.counts == (0, 0, 1, 1)
    key = "store/ohlcv:test:A:1m/0"
    assert job.violations == [{"lease_key": key, "attempts": 5, "why": "no such symbol"}]
    names = [event.name for event in coordinator.events]
    assert names.count("failed") == PATIENCE[Outcome.FAILED].attempts
    assert names[-2:] == ["violation", "completed"]


def test_a_source_that_is_away_for_half_an_hour_leaves_no_violation(
    coordinator: Coordinator, keys: MemoryKeys
) -> None:
    coordinator.queue("a", wanted(2))
    began, tries = keys.now, 0
    while coordinator.job("a").header.is_open:
        taken = coordinator.take("w", f"t{tries}")
        if taken is None:
            keys.pass_time(5)
            asyncio.run(coordinator.leases.renew("w", {}, None))
            continue
        is_away = keys.now < began + 1_800
        outcome = Outcome.AWAY if is_away else Outcome.DONE
        assert coordinator.end(taken, f"t{tries}", outcome, "cannot be read")
        tries += 1
        shown = job_json(coordinator.job("a"))["away"]
        if is_away:
            assert shown["shards"] == min(tries, 2)
            assert shown["why"] == "cannot be read"
    assert coordinator.job("a").counts == (0, 0, 2, 0)
    assert shown is None
    assert keys.now < began + 1_800 + 306, "it is tried again within five minutes"
    assert tries < 30
    assert [event.name for event in coordinator.events].count("away") == tries - 2


def test_a_job_that_is_cancelled_is_taken_by_nobody(coordinator: Coordinator, keys: MemoryKeys) -> None:
    coordinator.queue("a", wanted(3))
    taken = coordinator.take("w", "t")
    assert taken is not None
    cancelled = asyncio.run(coordinator.jobs.cancel("a"))
    assert cancelled is not None
    assert (job_json(cancelled)["ended"], cancelled.counts) == ("cancelled", (2, 1, 0, 0))
    assert coordinator.take("w", "u") is None
    assert coordinator.take("w", "t") == taken, "it is still at work on this one"
    assert asyncio.run(coordinator.jobs.cancel("a")) == cancelled
    assert asyncio.run(coordinator.jobs.cancel("b")) is None
    keys.pass_time(3)
    assert coordinator.end(taken, "t")
    ended = job_json(coordinator.job("a"))
    assert (ended["ended"], ended["queued"], ended["claimed"], ended["done"]) == ("cancelled", 2, 0, 1)
    assert ended["end"] == job_json(cancelled)["end"]
    assert [event.name for event in coordinator.events] == ["queued", "taken", "cancelled", "done"]
    assert asyncio.run(coordinator.jobs.shards("a", after=-1, most=10)) is None
    assert asyncio.run(coordinator.jobs.cancel("a")) == coordinator.job("a")


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.RELEASED, None])
def test_what_is_not_done_of_a_cancelled_job_is_queued_for_ever(
    coordinator: Coordinator, keys: MemoryKeys, outcome: Outcome | None
) -> None:
    """None: its worker dies."""
    coordinator.queue("a", wanted(2))
    taken = coordinator.take("w", "t")
    assert taken is not None
    asyncio.run(coordinator.jobs.cancel("a"))
    if outcome is None:
        keys.pass_time(TTL_S + 1)
        coordinator.sweep()
    else:
        assert coordinator.end(taken, "t", outcome, "so it is")
    assert not coordinator.job("a").header.is_open
    assert coordinator.job("a").counts == (2, 0, 0, 0)
    assert coordinator.take("other", "u") is None


def test_a_cancelled_job_ends_although_its_coordinator_has_died(
    coordinator: Coordinator, keys: MemoryKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator.queue("a", wanted(2))

    async def dies(*_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(coordinator.jobs, "_ended", dies)
    with pytest.raises(ConnectionError):
        asyncio.run(coordinator.jobs.cancel("a"))
    other = Coordinator(keys)
    assert job_json(other.job("a"))["ended"] == "cancelled"
    assert other.take("w", "t") is None
    assert not other.job("a").header.is_open


@pytest.mark.parametrize("seed", range(20))
def test_each_shard_is_held_by_one_and_every_job_ends(keys: MemoryKeys, seed: int) -> None:
    """Two coordinators, three workers that die and fail at random, and shards of two jobs."""
    rng = random.Random(seed)
    coordinators = [Coordinator(keys), Coordinator(keys)]
    coordinators[0].queue("a", wanted(450))
    coordinators[1].queue("b", wanted(7))
    held: dict[str, tuple[Taken, str]] = {}
    done: set[tuple[str, int]] = set()
    for step in range(4_000):
        coordinator, worker = rng.choice(coordinators), f"w{rng.randrange(3)}"
        mine = held.get(worker)
        if mine is None:
            taken = coordinator.take(worker, f"t{step}")
            if taken is not None:
                place = (taken.job, taken.number)
                assert place not in done
                assert place not in {(one.job, one.number) for one, _ in held.values()}
                held[worker] = taken, f"t{step}"
        elif rng.random() < 0.05:
            del held[worker]
            lifetime = keys.lifetime_of(f"sessions/{worker}")
            assert lifetime is not None
            keys.end(lifetime)  # it dies
            coordinator.sweep()
        else:
            outcome = rng.choices([Outcome.DONE, Outcome.FAILED, Outcome.RELEASED], [20, 1, 1])[0]
            if coordinator.end(mine[0], mine[1], outcome, "so it is"):
                if outcome is Outcome.DONE:
                    done.add((mine[0].job, mine[0].number))
                del held[worker]
            else:
                raise AssertionError("it was held")
        keys.pass_time(0.05)
        for name in held:
            asyncio.run(coordinator.leases.renew(name, {}, None))
        if not any(job.header.is_open for job in asyncio.run(coordinator.jobs.jobs())):
            break
    found = {job.header.job: job.counts for job in asyncio.run(coordinators[0].jobs.jobs())}
    assert {name: sum(counts) for name, counts in found.items()} == {"a": 450, "b": 7}
    assert all(counts.queued == counts.claimed == 0 for counts in found.values())
    assert len(done) == sum(counts.done for counts in found.values())
