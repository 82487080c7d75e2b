"""Budgets of a fleet before a real coordinator: processes as of several machines, each with its own file."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from qmtl.runtime.coordination.coordinator_rates import CoordinatorRates
from qmtl.runtime.io.rates import RateBudget
from qmtl.runtime.testing.clock import FakeClock
from qmtl.services.http.access import token_hash
from tests.qmtl.etcd import EtcdCluster
from tests.qmtl.services.coordinator.conftest import CoordinatorProcess, forget_all

PER_SECOND, BURST, TAKES = 5.0, 2.0, 12

# A machine: it takes what it can, and says when it had each.
MACHINE = """
import asyncio, json, sys, time
from qmtl.runtime.coordination import coordinator_http
from qmtl.runtime.coordination.coordinator_rates import CoordinatorRates
from qmtl.runtime.io.rates import RateBudget
# A coordinator that is late is waited for: without one, each spends by itself.
coordinator_http.ANSWER_S = coordinator_http._CONNECT_S = 60.0
url, path, per_second, burst, takes = sys.argv[1:]
budget = RateBudget("venue", per_second=float(per_second), burst=float(burst), path=path)
budget.fleet = CoordinatorRates(url, None)
async def main():
    times = []
    for _ in range(int(takes)):
        await budget.take()
        times.append(time.time())
    print(json.dumps(times))
asyncio.run(main())
"""


def most_in(times: list[float], seconds: float) -> int:
    return max(sum(begin <= at <= begin + seconds for at in times) for begin in times)


def test_three_machines_keep_to_one_budget(
    serve: Callable[..., CoordinatorProcess], etcd: EtcdCluster, tmp_path: Path
) -> None:
    forget_all(etcd)
    servers = [serve(etcd), serve(etcd)]
    machines = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", MACHINE, servers[number % 2].url, tmp_path / f"rates-{number}"),
                *(str(PER_SECOND), str(BURST), str(TAKES)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    times: list[float] = []
    for machine in machines:
        out, _ = machine.communicate(timeout=300)
        assert machine.returncode == 0
        times += json.loads(out)
    assert len(times) == 3 * TAKES
    # Each says so a moment after it was granted; a machine that is busy may be late by some of them.
    spread = max(times) - min(times)
    assert spread >= (3 * TAKES - BURST) / PER_SECOND - 1.0
    assert most_in(times, 3.0) <= BURST + 3.0 * PER_SECOND + 5
    for server in servers:
        assert server.end() == 0


@pytest.mark.usefixtures("patient")
def test_a_pause_that_one_machine_is_told_holds_for_another(
    serve: Callable[..., CoordinatorProcess], etcd: EtcdCluster, tmp_path: Path
) -> None:
    forget_all(etcd)
    server = serve(etcd)

    async def story() -> float:
        one, two = (RateBudget("venue", per_second=100.0, path=tmp_path / name) for name in ("a", "b"))
        for budget in (one, two):
            budget.fleet = CoordinatorRates(server.url, None)
        began = time.monotonic()
        await one.pause(2.0)
        await two.take()
        return time.monotonic() - began

    assert asyncio.run(story()) > 1.9
    assert server.end() == 0


def test_without_a_coordinator_a_machine_spends_its_part_and_goes_back_to_the_whole(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    serve: Callable[..., CoordinatorProcess],
    etcd: EtcdCluster,
) -> None:
    caplog.set_level("INFO", logger="seamless.backfill")
    forget_all(etcd)
    server = serve(etcd)
    clock = FakeClock()
    rates = CoordinatorRates(server.url, None, clock)
    limits = {"cost": 1.0, "per_second": 1_000.0, "burst": 1_000.0}

    async def take(of: CoordinatorRates = rates) -> Any:
        return await of.take("venue", **limits)

    for _ in range(3):
        asyncio.run(take(CoordinatorRates(server.url, None)))
    assert asyncio.run(take()).wait_s == 0
    assert rates.share("venue") == 1.0
    server.process.send_signal(signal.SIGSTOP)
    try:
        assert asyncio.run(take()) is None
        assert rates.share("venue") == 0.25, "four share it"
        began = time.monotonic()
        assert asyncio.run(take()) is None
        assert time.monotonic() - began < 4, "it is left alone for a while"
    finally:
        server.process.send_signal(signal.SIGCONT)
    deadline = time.monotonic() + 60
    while asyncio.run(take()) is None:
        assert time.monotonic() < deadline
        clock.advance(5)
        time.sleep(0.2)
    assert rates.share("venue") == 1.0
    assert [one for one in ("rates.alone", "rates.coordinated") if one in caplog.text] == [
        "rates.alone",
        "rates.coordinated",
    ]
    assert server.end() == 0


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("take", {"cost": 0}),
        ("take", {"cost": "NaN"}),
        ("take", {"per_second": -1}),
        ("take", {"burst": 1e9}),
        ("take", {"venue": "x" * 10_000}),
        ("take", {"taker": "a\nb"}),
        ("take", {"spam": 1}),
        ("pause", {"venue": "v", "seconds": 0}),
        ("pause", {"venue": "v", "seconds": 1e9}),
    ],
)
def test_what_is_no_budget(http: httpx.Client, path: str, changes: dict[str, Any]) -> None:
    body = {"venue": "v", "taker": "w", "cost": 1, "per_second": 1, "burst": 1}
    whole = body | changes if path == "take" else changes
    assert http.post(f"/v1/rates/{path}", json=whole).status_code == 422


def test_a_reader_spends_nothing(
    serve: Callable[..., CoordinatorProcess], etcd: EtcdCluster, tmp_path: Path
) -> None:
    (tmp_path / "auth.yml").write_text(f"tokens: {{a: {{role: read, sha256: '{token_hash('reads')}'}}}}\n")
    server = serve(etcd, "--auth", tmp_path / "auth.yml")
    body = {"venue": "v", "taker": "w", "cost": 1, "per_second": 1, "burst": 1}
    reader = {"authorization": "Bearer reads"}
    assert httpx.post(f"{server.url}/v1/rates/take", json=body, headers=reader, timeout=60).status_code == 403
    assert server.end() == 0
