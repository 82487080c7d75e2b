"""The audit trail and the hooks on it: every step of a lease is kept, listed in order, and told once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

import qmtl
from qmtl.foundation.leases import LeaseKey
from qmtl.foundation.timeline import EMPTY
from qmtl.runtime.coordination.lease_hooks import LeaseStep
from qmtl.runtime.coordination.shard_leases import ShardRequest
from qmtl.services.coordinator.history import KEPT_S
from qmtl.services.coordinator.lease_service import LeaseService
from qmtl.services.http.access import token_hash
from tests.qmtl.etcd import EtcdCluster
from tests.qmtl.services.coordinator.conftest import CoordinatorProcess, forget_all
from tests.qmtl.services.coordinator.memory_coordinator import KeysClock
from tests.qmtl.services.coordinator.memory_keys import MemoryKeys
from tests.qmtl.services.coordinator.test_serving import SERIES, claimed, key_of


def steps(http: httpx.Client, worker: str, **query: object) -> list[tuple[str, int]]:
    """Events and attempts of the leases of this worker's store."""
    found: list[tuple[str, int]] = []
    page = http.get("/v1/history", params=query).json()
    while True:
        mine = [one for one in page["steps"] if (one["lease_key"] or "").startswith(worker)]
        found += [(one["event"], one["attempts"]) for one in mine]
        if page["next"] is None:
            return found
        page = http.get("/v1/history", params={**query, "after": page["next"]}).json()


def fail(http: httpx.Client, worker: str, claim_id: str) -> None:
    end = {"worker": worker, "claim_id": claim_id, "lease_keys": [key_of(worker)], "why": "the venue is down"}
    http.post("/v1/leases/fail", json=end).raise_for_status()


@pytest.mark.parametrize("limit", [1, 100])
def test_every_step_is_listed_in_its_order(http: httpx.Client, worker: str, limit: int) -> None:
    since = http.get("/v1/history", params={"since": "2200-01-01"}).json()["now"]
    claimed(http, worker, 0, 1)
    fail(http, worker, worker)
    claimed(http, worker, 0, claim_id=f"{worker}-2")
    end = {"worker": worker, "claim_id": f"{worker}-2", "lease_keys": [key_of(worker)]}
    http.post("/v1/leases/complete", json={**end, "as_of": since}).raise_for_status()
    http.post("/v1/leases/complete", json={**end, "as_of": since}).raise_for_status()
    expected = [
        *(("granted", 1), ("granted", 1), ("failed", 1), ("requeued", 1), ("granted", 2)),
        ("completed", 2),
    ]
    assert steps(http, worker, since=since, limit=limit) == expected
    assert steps(http, worker, since="2200-01-01") == []


def test_a_step_is_kept_for_a_day_and_no_longer_than_two() -> None:
    keys = MemoryKeys()
    service = LeaseService(keys, KeysClock(keys))

    async def step(number: int) -> None:
        request = ShardRequest(LeaseKey("store", SERIES, number), EMPTY, 0)
        await service.claim("w", f"c{number}", [request], ttl_s=10)

    async def kept() -> list[str]:
        found, _ = await service.history.page(after="", most=500)
        return [one["lease_key"].rpartition("/")[2] for one in found]

    for number in range(8):
        asyncio.run(step(number))
        keys.pass_time(KEPT_S / 2)
        now = set(asyncio.run(kept()))
        assert {str(one) for one in range(max(0, number - 1), number + 1)} <= now
        assert not {str(one) for one in range(number - 3)} & now
    assert not [key for key in service._guesses._entries if key.startswith("history/")], (
        "nobody asks for them"
    )


@pytest.mark.parametrize(
    "query", ["since=yesterday", "since=7", "after=x", "after=7", "limit=0", "limit=501", "since="]
)
def test_what_cannot_be_listed(http: httpx.Client, query: str) -> None:
    assert http.get(f"/v1/history?{query}").status_code == 422


def test_hooks_hear_of_each_lease_that_ends_badly_once(
    serve: Callable[..., CoordinatorProcess], etcd: EtcdCluster
) -> None:
    forget_all(etcd)
    server = serve(etcd)
    heard: dict[str, list[LeaseStep]] = {"expired": [], "failed": [], "violation": []}

    def broken(step: LeaseStep) -> None:
        heard["failed"].append(step)
        raise ZeroDivisionError("of somebody's own")

    with httpx.Client(base_url=server.url, timeout=60) as http:
        claimed(http, "before", 0)
        fail(http, "before", "before")
        hooked = qmtl.DistributedBackfillCoordinator(
            server.url,
            on_expired=heard["expired"].append,
            on_failed=broken,
            on_violation=heard["violation"].append,
        )
        try:
            deadline = time.monotonic() + 60
            while "/v1/history" not in http.get("/metrics").text:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            time.sleep(1.0)  # its first answer says from when on
            claimed(http, "dead", 0, ttl_s=2)
            for number in range(5):
                claimed(http, "w", 0, claim_id=f"w-{number}")
                fail(http, "w", f"w-{number}")
            wanted = [{"series": SERIES, "start": "1970-01-01", "end": "1970-01-02"}]
            http.post("/v1/jobs", json={"job": "j", "store": "of-a-job", "by": "b", "ranges": wanted})
            take = {"worker": "w2", "take_id": "t", "store": "of-a-job", "ttl_s": 60}
            assert http.post("/v1/jobs/take", json=take).json()["taken"] is not None
            end = {"number": 0, "take_id": "t", "outcome": "failed", "why": "no vendor"}
            http.post("/v1/jobs/j/end", json=end).raise_for_status()
            while not (heard["expired"] and heard["violation"] and len(heard["failed"]) >= 6):
                assert time.monotonic() < deadline, heard
                time.sleep(0.1)
            time.sleep(5)  # what was told is asked for again, and not told again
        finally:
            hooked.close()
    assert [step.lease_key for step in heard["expired"]] == [key_of("dead")]
    assert heard["expired"][0].why == "dead was not heard of in time"
    assert [step.attempts for step in heard["failed"] if step.job is None] == [1, 2, 3, 4, 5]
    (of_a_job,) = [step for step in heard["failed"] if step.job is not None]
    assert (of_a_job.event, of_a_job.job, of_a_job.holder) == ("job.failed", "j", "w2")
    assert (of_a_job.lease_key.partition("/")[0], of_a_job.why) == ("of-a-job", "no vendor")
    assert [(step.lease_key, step.attempts, step.why) for step in heard["violation"]] == [
        (key_of("w"), 5, "the venue is down")
    ]
    assert server.end() == 0


def test_a_hook_that_may_not_look_says_so(
    serve: Callable[..., CoordinatorProcess],
    etcd: EtcdCluster,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "auth.yml").write_text(f"tokens: {{a: {{role: read, sha256: '{token_hash('reads')}'}}}}\n")
    server = serve(etcd, "--auth", tmp_path / "auth.yml")
    hooked = qmtl.DistributedBackfillCoordinator(server.url, token="wrong", on_failed=print)
    deadline = time.monotonic() + 60
    while "hooks.refused" not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    hooked.close()
    assert server.end() == 0
