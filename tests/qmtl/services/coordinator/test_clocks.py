"""Coordinators whose clocks are apart say so, and hooks hear of every step all the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qmtl.foundation.leases import LeaseKey
from qmtl.foundation.timeline import EMPTY
from qmtl.foundation.times import HOUR, SECOND, to_ns
from qmtl.runtime.coordination.lease_hooks import News, Shown
from qmtl.runtime.coordination.shard_leases import ShardRequest
from qmtl.services.coordinator.clocks import APART_S, Clocks
from qmtl.services.coordinator.history import id_at
from qmtl.services.coordinator.key_values import Put
from qmtl.services.coordinator.lease_service import LeaseService
from tests.qmtl.services.coordinator.memory_coordinator import KeysClock
from tests.qmtl.services.coordinator.memory_keys import MemoryKeys

START = to_ns("2024-01-01")


class Ahead(KeysClock):
    """A clock whose seconds are right, and whose time is not."""

    def __init__(self, keys: MemoryKeys, seconds: float) -> None:
        super().__init__(keys)
        self.seconds = seconds

    def now(self) -> int:
        return START + super().now() + round(self.seconds * SECOND)


def shared() -> MemoryKeys:
    """As several coordinators have it."""
    keys = MemoryKeys()
    keys.change({"format": Put(b"{}")})
    return keys


def test_who_is_alone_stores_nothing() -> None:
    keys = MemoryKeys()
    run(keys, Clocks(keys, Ahead(keys, 0.0)), seconds=10)
    assert not keys.entries


def run(keys: MemoryKeys, *clocks: Clocks, seconds: int) -> None:
    for _ in range(seconds):
        for one in clocks:
            asyncio.run(one.compare())
        keys.pass_time(1.0)


@pytest.mark.parametrize("ahead", [-7_200.0, -31.5, 31.5, 7_200.0])
def test_clocks_that_are_apart_are_told_of_once_by_each(ahead: float) -> None:
    keys, heard = shared(), list[int]()
    clocks = [Ahead(keys, 0.0), Ahead(keys, ahead)]
    first, second = (Clocks(keys, clock, lambda _, seconds: heard.append(seconds)) for clock in clocks)
    run(keys, first, second, seconds=60)
    assert sorted(heard) == pytest.approx(sorted([ahead, -ahead]), abs=2)
    for one in (first, second):
        assert one.earliest() == pytest.approx(START + (keys.now + min(0.0, ahead)) * SECOND, abs=2 * SECOND)
        assert len(one.apart()) == 1
    assert list(first.apart().values()) == [pytest.approx(ahead, abs=2)]
    clocks[1].seconds = 0.0
    run(keys, first, second, seconds=20)
    assert first.apart() == second.apart() == {}
    clocks[1].seconds = ahead
    run(keys, first, second, seconds=20)
    assert len(heard) == 4, "it was right in between"


def test_clocks_that_agree_are_not_spoken_of() -> None:
    keys, heard = shared(), list[Any]()
    clocks = [Clocks(keys, Ahead(keys, n), lambda *told: heard.append(told)) for n in (0.0, APART_S - 5.0)]
    run(keys, *clocks, seconds=100)
    assert heard == []


def test_one_that_is_gone_is_forgotten() -> None:
    keys = shared()
    mine, gone = Clocks(keys, Ahead(keys, 0.0)), Clocks(keys, Ahead(keys, -7_200.0))
    run(keys, mine, gone, seconds=10)
    assert mine.earliest() < START
    run(keys, mine, seconds=60)
    assert mine.earliest() == START + round(keys.now * SECOND)
    assert len([key for key in keys.entries if key.startswith("clocks/")]) == 1


@pytest.mark.parametrize("ahead", [-7_200.0, 7_200.0])
def test_hooks_hear_of_what_a_wrong_clock_dates_and_of_what_others_store_after_it(ahead: float) -> None:
    keys = shared()
    services = [LeaseService(keys, Ahead(keys, seconds)) for seconds in (0.0, ahead)]

    async def shown(at: int, since: int) -> Shown:
        revision, now = await services[at].history.revision(), services[at].clocks.earliest()
        steps, rest = await services[at].history.page(after=id_at(since), most=500)
        assert rest is None
        return Shown(steps, revision, now)

    def store(at: int, number: int) -> None:
        request = ShardRequest(LeaseKey("store", "ohlcv:test:A:1m", number), EMPTY, 0)
        asyncio.run(services[at].claim(f"w{at}", f"c{number}", [request], ttl_s=60))

    def poll(news: News, at: int) -> list[int]:
        first = asyncio.run(shown(at, news.since))
        again = asyncio.run(shown(at, min(news.since, first.now - 30 * SECOND)))
        return [LeaseKey.parse(step.lease_key).shard for step in news.of(again)]

    run(keys, *(service.clocks for service in services), seconds=3)
    store(1, 0)
    for asked in (0, 1):
        begun = asyncio.run(shown(asked, START + 1_000 * HOUR))
        news = News(begun.now - 30 * SECOND, begun.revision)
        told = []
        for round_ in range(10):
            for at in (0, 1):
                store(at, 100 * asked + 2 * round_ + at + 1)
            told += poll(news, (asked + round_) % 2)
            run(keys, *(service.clocks for service in services), seconds=2)
        assert told == [100 * asked + number for number in range(1, 21)]
