"""A claim of many shards is one commit where it fits into one, and never more than the database takes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from qmtl.runtime.coordination.shard_leases import Granted, Held, ShardRequest
from qmtl.runtime.testing.lease_suite import request
from qmtl.services.coordinator.key_values import Committed, Conflict, Put
from qmtl.services.coordinator.lease_service import LeaseService
from tests.qmtl.services.coordinator.memory_coordinator import KeysClock
from tests.qmtl.services.coordinator.memory_keys import MemoryKeys

SERIES, MANY = "ohlcv:test:BTC/USDT:1m", 100


class CountedKeys(MemoryKeys):
    """Refuses what etcd refuses, and counts what it has taken."""

    def __init__(self) -> None:
        super().__init__()
        self.commits = 0

    async def commit(
        self, expected: Mapping[str, int], changes: Mapping[str, Put | None]
    ) -> Committed | Conflict:
        assert max(len(expected), len(changes)) <= self.most_keys
        outcome = await super().commit(expected, changes)
        self.commits += bool(changes) and isinstance(outcome, Committed)
        return outcome


def service(keys: MemoryKeys) -> LeaseService:
    return LeaseService(keys, KeysClock(keys))


def requests(shards: int) -> list[ShardRequest]:
    return [request(number, series=SERIES, store="s") for number in range(shards)]


def test_a_hundred_new_shards_are_one_commit() -> None:
    async def story() -> None:
        keys = CountedKeys()
        leases = service(keys)
        await leases.claim("w", "first", requests(1), ttl_s=15)  # its session, and the lifetime of the trail
        before = keys.commits
        found = await leases.claim("w", "c", requests(MANY + 1)[1:], ttl_s=15)
        assert [type(answer) for answer in found.answers] == [Granted] * MANY
        assert keys.commits - before == 1
        assert await leases.complete("w", "c", [answer.key for answer in found.answers], as_of=1) == []

    asyncio.run(story())


@pytest.mark.parametrize("sees_them", [True, False], ids=["they are known", "they are found on the way"])
def test_shards_that_a_hundred_workers_hold_are_answered_all_the_same(sees_them: bool) -> None:
    """Who holds them is known to the coordinator that granted them; another one has to find out."""

    async def story() -> None:
        keys = CountedKeys()
        first = service(keys)
        for number, one in enumerate(requests(MANY)):
            await first.claim(f"worker {number}", f"claim {number}", [one], ttl_s=15)
        asked = first if sees_them else service(keys)
        found = await asked.claim("w", "c", requests(2 * MANY), ttl_s=15)
        assert [type(answer) for answer in found.answers] == [Held] * MANY + [Granted] * MANY
        holders = [answer.holder for answer in found.answers if isinstance(answer, Held)]
        assert holders == [f"worker {number}" for number in range(MANY)]
        assert [answer.key.shard for answer in found.answers] == list(range(2 * MANY))

    asyncio.run(story())
