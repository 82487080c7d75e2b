"""What fails again and again holds up nothing, and is not put off for ever either."""

from __future__ import annotations

from collections import Counter

from qmtl.foundation.timeline import Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.coordination.job_blocks import PATIENCE, Outcome
from qmtl.runtime.coordination.job_plans import WantedRange
from qmtl.runtime.coordination.series_rests import SeriesRests
from qmtl.services.coordinator.job_taking import AGAIN_EVERY
from tests.qmtl.services.coordinator.memory_coordinator import SHARD, Coordinator, wanted
from tests.qmtl.services.coordinator.memory_keys import MemoryKeys


def series(name: str, shards: int) -> WantedRange:
    return WantedRange(f"ohlcv:test:{name}:1m", Span(0, shards * SHARD - MINUTE))


def test_a_shard_that_failed_waits_behind_fresh_ones_of_every_job(
    coordinator: Coordinator, keys: MemoryKeys
) -> None:
    coordinator.queue("a", wanted(2))
    coordinator.queue("b", series("B", 1))
    failed = coordinator.take("w", "t0", turn=0)
    assert failed is not None
    assert coordinator.end(failed, "t0", Outcome.FAILED, "no such symbol")
    keys.pass_time(60.0)
    order = []
    for turn in (1, 2, 4):
        taken = coordinator.take("w", f"t{turn}", turn=turn)
        assert taken is not None
        order.append((taken.job, taken.number, taken.attempts))
    assert order == [("a", 1, 0), ("b", 0, 0), ("a", 0, 1)]


def test_of_those_that_failed_the_one_that_waits_longest_comes_first(
    coordinator: Coordinator, keys: MemoryKeys
) -> None:
    coordinator.queue("a", wanted(450))
    for number, name in enumerate(("first", "second")):
        taken = coordinator.take(name, name, turn=0)
        assert taken is not None
        assert taken.number == number
    for number, name in ((1, "second"), (0, "first")):
        keys.pass_time(0.5)
        again = coordinator.take(name, name, turn=0)
        assert again is not None
        assert coordinator.end(again, name, Outcome.FAILED, "no"), number
    keys.pass_time(8.0)
    found = [coordinator.take("w", f"u{turn}", turn=turn) for turn in (3, 7)]
    assert [one.number for one in found if one is not None] == [1, 0]


def test_one_take_in_four_goes_to_what_failed_while_there_is_fresh_work(
    coordinator: Coordinator, keys: MemoryKeys
) -> None:
    """A job of a hundred thousand fresh shards does not put off the last shard of an older one for days."""
    coordinator.queue("a", wanted(1))
    coordinator.queue("b", series("B", 100_000))
    attempts, turn = 0, 0
    while coordinator.job("a").header.is_open:
        taken = coordinator.take("w", f"t{turn}", turn=turn)
        assert taken is not None
        outcome = Outcome.FAILED if taken.job == "a" and attempts < 3 else Outcome.DONE
        attempts += taken.job == "a"
        assert coordinator.end(taken, f"t{turn}", outcome, "not yet")
        turn += 1
        keys.pass_time(2.0)
        assert turn < 10 * AGAIN_EVERY
    assert coordinator.job("a").counts.done == 1
    assert attempts == 4


def test_series_that_rest_are_not_given_and_others_are(coordinator: Coordinator) -> None:
    coordinator.queue("a", series("A", 2), series("B", 1))
    resting = frozenset({"ohlcv:test:A:1m"})
    taken = coordinator.take("w", "t0", turn=0, resting=resting)
    assert taken is not None
    assert taken.shard.series == "ohlcv:test:B:1m"
    assert coordinator.take("w", "t1", turn=1, resting=resting) is None
    assert coordinator.take("other", "u", turn=0) is not None


def test_poisoned_shards_starve_no_good_ones(coordinator: Coordinator, keys: MemoryKeys) -> None:
    """Ten poisoned shards and five good ones, and a job behind them; each attempt takes a second."""
    coordinator.queue("a", series("RAISE1", 5), series("RAISE2", 5), series("OK1", 5))
    coordinator.queue("b", series("OK2", 1))
    rests = {name: SeriesRests() for name in ("w", "v")}
    turns: Counter[str] = Counter()
    good: list[float] = []
    while coordinator.job("a").header.is_open or coordinator.job("b").header.is_open:
        for worker, resting in rests.items():
            take_id = f"{worker}{turns[worker]}"
            taken = coordinator.take(
                worker, take_id, turn=turns[worker], resting=frozenset(resting.at(keys.now))
            )
            if taken is None:
                continue
            turns[worker] += 1
            is_poisoned = "RAISE" in taken.shard.series
            outcome = Outcome.FAILED if is_poisoned else Outcome.DONE
            assert coordinator.end(taken, take_id, outcome, "poison")
            if is_poisoned:
                resting.failed(taken.shard.series, now=keys.now)
            else:
                good.append(keys.now)
        keys.pass_time(1.0)
        assert keys.now < 4_000
    assert len(good) == 6
    assert good[-1] <= 12.0, "long before the poisoned ones are given up"
    assert coordinator.job("a").counts == (0, 0, 5, 10)
    failed = [event for event in coordinator.events if event.name == "failed"]
    assert len(failed) == 10 * PATIENCE[Outcome.FAILED].attempts
