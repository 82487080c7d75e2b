"""Whole workers before a real coordinator and PostgreSQL: one is killed, or the coordinator stands still."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

import qmtl
from qmtl.runtime.coordination.shard_leases import Done, Granted, Held
from qmtl.runtime.ingest.backfill_result import Progress
from qmtl.runtime.testing.lease_suite import granted, request
from qmtl.runtime.testing.vendors import Hang, ScriptedVendor
from tests.qmtl.etcd import EtcdCluster
from tests.qmtl.services.coordinator import fleet_child
from tests.qmtl.services.coordinator.conftest import CoordinatorProcess, forget_all

SERIES, BARS = fleet_child.SERIES, 3 * 1440
RANGE = ("2024-01-01", "2024-01-04")


def test_what_a_killed_worker_has_begun_another_completes(
    serve: Callable[..., CoordinatorProcess], etcd: EtcdCluster, postgres_url: str
) -> None:
    forget_all(etcd)
    coordinator = serve(etcd)
    url = coordinator.url
    child = Path(fleet_child.__file__)
    with subprocess.Popen(
        [sys.executable, child, postgres_url, url, *RANGE], stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        stored = int(killed.stdout.readline())  # after its first commit
        (lease,) = [
            one
            for one in httpx.get(f"{url}/v1/leases", timeout=60).json()["leases"]
            if one["state"] == "held"
        ]
        assert lease["holder"].split(":")[1] == str(killed.pid)
        vendor = ScriptedVendor(page_rows=1_000)
        with qmtl.SeamlessDataProvider(
            postgres_url, vendor, coordinator=url, metrics_registry=CollectorRegistry(), progress=False
        ) as provider:
            killed.kill()
            heard: list[Progress] = []
            result = provider.fetch(SERIES, *RANGE, on_progress=heard.append)
    assert 0 < stored < BARS
    (lost,) = [progress.lost for progress in heard if progress.lost is not None]
    assert (lost.holder, lost.lease_key, lost.by) == (lease["holder"], lease["lease_key"], None)
    assert lost.why == f"{lost.holder} was not heard of in time"
    assert 0 < time.time() - lost.noticed_at / 1e9 < 300
    assert lost.left == heard[0].total - heard[0].done <= BARS - stored, (
        "what it had stored is not asked again"
    )
    assert (result.frame.height, result.coverage.counts["present"]) == (BARS, BARS)
    assert result.receipt.uncoordinated is None
    asked = sum(call.span.end - call.span.start for call in vendor.calls) // (60 * 10**9)
    assert 0 < asked <= BARS - stored, "what was stored is not asked for again"
    text = httpx.get(f"{url}/metrics", timeout=60).text
    assert 'seamless_backfill_leases_expired_total{reason="session_ended"} 1.0' in text
    shown = httpx.get(f"{url}/v1/leases", timeout=60).json()["leases"]
    assert {one["state"] for one in shown} == {"completed"}
    coordinator.end()


def test_a_request_that_hangs_ends_with_its_lease(
    serve: Callable[..., CoordinatorProcess], etcd: EtcdCluster, tmp_path: Path
) -> None:
    forget_all(etcd)
    server = serve(etcd)
    coordinator = qmtl.DistributedBackfillCoordinator(server.url, ttl_s=3)
    vendor = ScriptedVendor(faults={0: Hang()})
    with (
        qmtl.SeamlessDataProvider(
            tmp_path / "bars",
            vendor,
            coordinator=coordinator,
            metrics_registry=CollectorRegistry(),
            progress=False,
        ) as provider,
        ThreadPoolExecutor(1) as thread,
    ):
        fetching = thread.submit(provider.fetch, SERIES, *RANGE)
        deadline = time.monotonic() + 60
        while not vendor.open_calls:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        forget_all(etcd)  # the session is gone, as when nobody had heard of this worker
        with pytest.raises(qmtl.LeaseError):
            fetching.result(60)
        assert vendor.open_calls == 0
    coordinator.close()
    server.end()


def leader_of(cluster: EtcdCluster) -> int:
    for number, url in enumerate(cluster.urls):
        status = httpx.post(f"{url}/v3/maintenance/status", json={}, timeout=60).json()
        if status["leader"] == status["header"]["member_id"]:
            return number
    raise AssertionError("no member leads")


def test_leases_outlive_the_leader_of_etcd(
    serve: Callable[..., CoordinatorProcess], new_etcd: Callable[..., EtcdCluster]
) -> None:
    cluster = new_etcd(3)
    url = serve(cluster).url
    one, two = (qmtl.DistributedBackfillCoordinator(url, ttl_s=30) for _ in range(2))
    try:
        grants = granted(asyncio.run(one.claim([request(7)], claim_id="one")))
        cluster.send(leader_of(cluster), signal.SIGKILL)
        deadline = time.monotonic() + 60
        while True:
            try:
                answers = asyncio.run(two.claim([request(7), request(8)], claim_id=f"two {time.monotonic()}"))
            except qmtl.CoordinatorUnavailableError:
                answers = []
            if any(isinstance(answer, Granted) for answer in answers):
                break
            assert time.monotonic() < deadline
        assert isinstance(answers[0], Held)
        one.still_held(grants)
        asyncio.run(one.complete(grants, as_of=50))
        (done,) = asyncio.run(two.claim([request(7, read_as_of=49)], claim_id="two"))
        assert isinstance(done, Done)
    finally:
        one.close()
        two.close()


def test_a_coordinator_that_stands_still_costs_time_and_no_answer(
    serve: Callable[..., CoordinatorProcess], etcd: EtcdCluster, tmp_path: Path
) -> None:
    forget_all(etcd)
    coordinator = serve(etcd)
    with qmtl.SeamlessDataProvider(
        tmp_path / "bars",
        ScriptedVendor(),
        coordinator=coordinator.url,
        metrics_registry=CollectorRegistry(),
        progress=False,
    ) as provider:
        assert provider.fetch(SERIES, "2024-01-01", "2024-01-02").receipt.uncoordinated is None
        coordinator.process.send_signal(signal.SIGSTOP)
        try:
            budget = qmtl.SLAPolicy(backfill_wait="500ms", on_breach="partial")
            hurried = provider.fetch(SERIES, "2024-01-02", "2024-01-03", sla=budget, partial_ok=True)
            assert hurried.receipt.breach is not None
            assert hurried.frame.is_empty()
            assert hurried.receipt.uncoordinated is None, "the budget ended it, long before a time-out"
            patient = provider.fetch(SERIES, "2024-01-02", "2024-01-03")
            assert patient.frame.height == 1440
            assert "does not answer" in (patient.receipt.uncoordinated or "")
        finally:
            coordinator.process.send_signal(signal.SIGCONT)
    coordinator.end()
