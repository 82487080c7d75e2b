"""Claim shards of a coordinator, and complete them."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.figures import Comparison, Figure, Skipped
from benchmarks.services import served
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import take_turns
from qmtl.runtime.coordination.distributed import DistributedBackfillCoordinator
from qmtl.runtime.coordination.shard_leases import Granted
from qmtl.runtime.testing.lease_suite import request
from qmtl.services.coordinator.etcd import Etcd
from qmtl.services.coordinator.key_values import Put
from tests.qmtl.etcd import EtcdCluster, etcd_program

_AT_ONCE = 16
_MANY = 100
_SERIES = "ohlcv:bench:BTC/USDT:1m"
_numbers = itertools.count()


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """One etcd node, one coordinator, both durable and on this machine. Each shard is a new one."""
    program = etcd_program()
    if program is None:
        raise Skipped("no etcd; scripts/build_etcd.sh builds it")
    rounds, few = sizes.quick_rounds, min(30, sizes.quick_rounds)
    cluster = EtcdCluster(program)
    try:
        with served("coordinator", "--etcd", cluster.urls[0]) as url, asyncio.Runner() as runner:
            etcd, client = Etcd(cluster.urls), DistributedBackfillCoordinator(url)
            session = runner.run(_session(url))

            async def bare(_: int) -> None:
                for _ in range(2):
                    await etcd.commit(
                        {f"bench/{next(_numbers)}": 0}, {f"bench/{next(_numbers)}": Put(b"x" * 200)}
                    )

            async def by_worker(_: int) -> None:
                shard = request(next(_numbers), series=_SERIES, store="worker")
                answers = await client.claim([shard], claim_id=f"w{next(_numbers)}")
                await client.complete([one for one in answers if isinstance(one, Granted)], as_of=1)

            times = take_turns(
                rounds,
                {
                    "floor": lambda number: runner.run(bare(number)),
                    "one": lambda _: runner.run(_claim_and_complete(session)),
                    "worker": lambda number: runner.run(by_worker(number)),
                },
                warm_up=min(20, rounds),
            )
            many = take_turns(few, {"many": lambda _: runner.run(_claim(session, _MANY))}, warm_up=2)["many"]
            rate = runner.run(_rate(session, sizes.seconds))
            runner.run(etcd.close())
            runner.run(session.close())
            client.close()
    finally:
        cluster.remove()
    beside = Comparison("ms", times["floor"], "two bare transactions of etcd")
    return [
        beside.figure("p50, claim and complete one shard, over HTTP", times["one"], goal=4.0),
        beside.figure("p99, claim and complete one shard, over HTTP", times["one"], percent=99),
        beside.figure("p50, the same by DistributedBackfillCoordinator", times["worker"]),
        beside.figure(f"p50, claim {_MANY} shards at once", many, goal=15.0),
        Figure(
            f"claims of one shard, {_AT_ONCE} connections", rate, "claims/s", goal=1_000, more_is_better=True
        ),
    ]


async def _session(url: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(url)


async def _claim(session: aiohttp.ClientSession, shards: int, worker: str = "bench") -> dict[str, Any]:
    """All are granted, or this is an error."""
    cells = [["1970-01-01T00:00:00Z", "1970-01-01T00:01:00Z"]]
    keys = [
        {"series": f"ohlcv:bench:S{next(_numbers)}:1m", "shard": 0, "cells": cells} for _ in range(shards)
    ]
    body = {"worker": worker, "store": "bench", "claim_id": f"c{next(_numbers)}", "ttl_s": 60, "keys": keys}
    async with session.post("/v1/leases/claim", json=body) as answer:
        found = await answer.json()
    if answer.status != 200 or any(one["state"] != "granted" for one in found["answers"]):
        raise RuntimeError(str(found))
    return body | {"lease_keys": [one["lease_key"] for one in found["answers"]]}


async def _claim_and_complete(session: aiohttp.ClientSession) -> None:
    claim = await _claim(session, 1)
    body = {name: claim[name] for name in ("worker", "claim_id", "lease_keys")}
    async with session.post("/v1/leases/complete", json=body | {"as_of": "2024-01-01"}) as answer:
        if answer.status != 200:
            raise RuntimeError(await answer.text())


async def _rate(session: aiohttp.ClientSession, seconds: float) -> float:
    """Claims in a second, by some who each claim again when they have their answer."""
    began = time.perf_counter()

    async def worker(number: int) -> int:
        for count in itertools.count():
            if time.perf_counter() - began >= seconds:
                return count
            await _claim(session, 1, worker=f"bench-{number}")
        raise AssertionError("the numbers do not end")

    counts = await asyncio.gather(*(worker(number) for number in range(_AT_ONCE)))
    return sum(counts) / (time.perf_counter() - began)
