"""One budget for a fleet: whichever coordinator is asked, no stretch of time sees more than it has."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.services.coordinator.rate_service import REMEMBERED_S, SHARING_S, RateService
from tests.qmtl.services.coordinator.memory_coordinator import KeysClock
from tests.qmtl.services.coordinator.memory_keys import MemoryKeys

asks = st.lists(
    st.tuples(st.floats(0.0, 3.0), st.floats(0.1, 4.0), st.integers(0, 2), st.integers(0, 4)), max_size=60
)


@settings(deadline=None)
@given(asks, st.floats(0.5, 20.0), st.floats(4.0, 10.0))
def test_no_stretch_of_time_sees_more_than_burst_and_rate(
    given_asks: list[tuple[float, float, int, int]], per_second: float, burst: float
) -> None:
    keys = MemoryKeys()
    services = [RateService(keys, KeysClock(keys)) for _ in range(3)]
    booked: list[tuple[float, float]] = []
    for later, cost, coordinator, taker in given_asks:
        keys.pass_time(later)
        limits = {"cost": cost, "per_second": per_second, "burst": burst}
        answer = asyncio.run(services[coordinator].take("v", f"w{taker}", **limits))
        if answer.wait_s:
            keys.pass_time(answer.wait_s + 1e-6)
            answer = asyncio.run(services[(coordinator + 1) % 3].take("v", f"w{taker}", **limits))
            assert answer.wait_s == 0, "as long as told is long enough"
        booked.append((keys.now, cost))
    for first, (begin, _) in enumerate(booked):
        total = 0.0
        for end, cost in booked[first:]:
            total += cost
            assert total <= burst + per_second * (end - begin) + 1e-4


def take(service: RateService, venue: str = "v", taker: str = "w") -> tuple[float, float, int]:
    return asyncio.run(service.take(venue, taker, cost=1.0, per_second=1.0, burst=1.0))


def test_a_pause_holds_for_all_and_a_longer_one_stays() -> None:
    keys = MemoryKeys()
    one, two = (RateService(keys, KeysClock(keys)) for _ in range(2))
    assert take(one)[0] == 0
    asyncio.run(one.pause("v", 30.0))
    asyncio.run(two.pause("v", 5.0))
    keys.pass_time(10)
    assert take(two)[:2] == (20.0, 20.0)
    assert take(two, "another")[0] == 0
    keys.pass_time(20)
    assert take(one)[0] == 0


def test_those_who_asked_lately_share() -> None:
    keys = MemoryKeys()
    one, two = (RateService(keys, KeysClock(keys)) for _ in range(2))
    assert [take(one, taker="a")[2], take(two, taker="b")[2], take(one, taker="a")[2]] == [1, 2, 2]
    keys.pass_time(SHARING_S + 1)
    assert take(two, taker="c")[2] == 1
    for number in range(1_500):
        sharers = take(one, taker=f"w{number}")[2]
    assert sharers == 1_000
    assert max(len(entry.value) for entry in keys.entries.values()) < 50_000


def test_a_venue_that_nobody_asks_is_forgotten() -> None:
    keys = MemoryKeys()
    service = RateService(keys, KeysClock(keys))
    for number in range(1_200):
        take(service, f"v{number}")
    assert len(service._seen) == 1_000
    keys.pass_time(2 * REMEMBERED_S + 1)
    take(service, "v")
    assert list(keys.entries) == ["rates/v"]
