"""List ten thousand queued shards of a coordinator, and take them one by one."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.figures import Comparison, Figure, Skipped
from benchmarks.services import served
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import take_turns
from qmtl.foundation.times import MINUTE, iso
from qmtl.runtime.io.store.fencing import SHARD_STEPS
from qmtl.services.coordinator.etcd import Etcd
from qmtl.services.coordinator.key_values import Put
from tests.qmtl.etcd import EtcdCluster, etcd_program

_SHARDS = 10_000
_JOB = "bench"
_numbers = itertools.count()


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """One etcd node, one coordinator, both durable and on this machine; a job of a thousand series."""
    program = etcd_program()
    if program is None:
        raise Skipped("no etcd; scripts/build_etcd.sh builds it")
    rounds = min(100, sizes.quick_rounds)
    cluster = EtcdCluster(program)
    try:
        with served("coordinator", "--etcd", cluster.urls[0]) as url, asyncio.Runner() as runner:
            etcd, session = Etcd(cluster.urls), runner.run(_session(url))
            runner.run(_queue(session))

            async def bare(_: int) -> None:
                for _ in range(2):
                    await etcd.commit(
                        {f"bench/{next(_numbers)}": 0}, {f"bench/{next(_numbers)}": Put(b"x" * 200)}
                    )

            times = take_turns(
                rounds,
                {
                    "floor": lambda number: runner.run(bare(number)),
                    "jobs": lambda _: runner.run(_ask(session, "GET", "/v1/jobs")),
                    "shards": lambda _: runner.run(
                        _ask(session, "GET", f"/v1/jobs/{_JOB}/shards?limit={_SHARDS}")
                    ),
                    "take": lambda number: runner.run(_take_and_end(session, number)),
                },
                warm_up=2,
            )
            runner.run(etcd.close())
            runner.run(session.close())
    finally:
        cluster.remove()
    beside = Comparison("ms", times["floor"], "two bare transactions of etcd")
    return [
        beside.figure(f"p50, the job of {_SHARDS:,} queued shards, counted", times["jobs"], goal=50.0),
        beside.figure(f"p50, its {_SHARDS:,} shards, each by its name", times["shards"]),
        beside.figure("p50, take a shard and end it", times["take"]),
    ]


async def _session(url: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(url)


async def _ask(session: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> Any:
    async with session.request(method, path, json=body) as answer:
        if answer.status != 200:
            raise RuntimeError(await answer.text())
        return await answer.json()


async def _queue(session: aiohttp.ClientSession) -> None:
    # Ten shards of each series.
    end = iso(10 * SHARD_STEPS * MINUTE)
    ranges = [
        {"series": f"ohlcv:bench:S{number}:1m", "start": iso(0), "end": end}
        for number in range(_SHARDS // 10)
    ]
    job = await _ask(
        session, "POST", "/v1/jobs", {"job": _JOB, "store": "bench", "by": "bench", "ranges": ranges}
    )
    if job["shards"] != _SHARDS:
        raise RuntimeError(str(job))


async def _take_and_end(session: aiohttp.ClientSession, number: int) -> None:
    take = {"worker": "bench", "take_id": f"t{number}", "store": "bench", "ttl_s": 60}
    taken = (await _ask(session, "POST", "/v1/jobs/take", take))["taken"]
    end = {"number": taken["number"], "take_id": take["take_id"], "outcome": "done"}
    await _ask(session, "POST", f"/v1/jobs/{_JOB}/end", end)
