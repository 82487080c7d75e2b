"""Routes of jobs before a real etcd: a job's life, several who take at once, and what is refused."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from qmtl.services.http.access import token_hash
from tests.qmtl.etcd import EtcdCluster
from tests.qmtl.services.coordinator.conftest import CoordinatorProcess

SERIES = "ohlcv:test:BTC/USDT:1m"
RANGE = {"series": SERIES, "start": "2024-01-01T00:00:00Z", "end": "2024-02-01T00:00:00Z"}  # five shards


def job_body(name: str, **more: Any) -> dict[str, Any]:
    return {"job": name, "store": name, "by": "a test", "ranges": [RANGE], **more}


def take_body(name: str, **more: Any) -> dict[str, Any]:
    return {"worker": name, "take_id": os.urandom(8).hex(), "store": name, "ttl_s": 10, **more}


def test_the_life_of_a_job(http: httpx.Client, worker: str) -> None:
    queued = http.post("/v1/jobs", json=job_body(worker)).json()
    assert (queued["shards"], queued["queued"], queued["ended"]) == (5, 5, None)
    for number in range(5):
        body = take_body(worker)
        taken = http.post("/v1/jobs/take", json=body).json()["taken"]
        assert (taken["job"], taken["number"], taken["series"]) == (worker, number, SERIES)
        shown = http.get(f"/v1/jobs/{worker}/shards", params={"after": number - 1, "limit": 1}).json()
        assert shown["shards"][0]["worker"] == worker
        assert (shown["shards"][0]["state"], shown["next"]) == ("claimed", number)
        end = {"number": number, "take_id": body["take_id"], "outcome": "done"}
        assert http.post(f"/v1/jobs/{worker}/end", json=end).json() == {"status": "done"}
    assert worker in [one["worker"] for one in http.get("/v1/workers").json()]
    ended = http.get(f"/v1/jobs/{worker}").json()
    assert (ended["ended"], ended["done"], ended["violated"]) == ("completed", 5, [])
    assert worker in [one["job"] for one in http.get("/v1/jobs").json()["jobs"]]
    idle = http.post("/v1/jobs/take", json=take_body(worker)).json()
    assert idle["taken"] is None
    assert idle["retry_after_ms"] >= 1_000, "an idle worker asks once a second at most"
    again = http.post(f"/v1/jobs/{worker}/end", json=end)
    assert again.status_code == 409


def test_those_who_take_at_once_take_different_shards(
    serve: Callable[..., CoordinatorProcess], etcd: EtcdCluster, http: httpx.Client, worker: str
) -> None:
    coordinator = serve(etcd)
    http.post("/v1/jobs", json=job_body(worker, ranges=[{**RANGE, "start": "2010-01-01T00:00:00Z"}]))
    urls = [str(http.base_url), coordinator.url]

    def take(number: int) -> int:
        body = take_body(f"{worker}-{number % 6}", store=worker)
        answer = httpx.post(f"{urls[number % 2]}/v1/jobs/take", json=body, timeout=60)
        answer.raise_for_status()
        return int(answer.json()["taken"]["number"])

    with ThreadPoolExecutor(6) as threads:
        found = sorted(threads.map(take, range(60)))
    assert found == list(range(60))
    assert http.delete(f"/v1/jobs/{worker}").json()["ended"] == "cancelled"
    assert coordinator.end() == 0


def test_the_shard_of_a_worker_that_dies_is_counted_and_taken_again(
    http: httpx.Client, server: CoordinatorProcess, worker: str
) -> None:
    http.post("/v1/jobs", json=job_body(worker))
    first = http.post("/v1/jobs/take", json=take_body(f"{worker}-a", store=worker, ttl_s=2)).json()
    assert first["taken"]["attempts"] == 0
    deadline = time.monotonic() + 60
    while True:
        body = take_body(f"{worker}-b", store=worker)
        taken = http.post("/v1/jobs/take", json=body).json()["taken"]
        if taken is not None and taken["number"] == 0:
            break
        if taken is not None:  # what has not been tried comes first
            end = {"number": taken["number"], "take_id": body["take_id"], "outcome": "done"}
            http.post(f"/v1/jobs/{worker}/end", json=end).raise_for_status()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert taken["attempts"] == 1
    assert 'coordinator_job_events_total{event="expired"}' in http.get("/metrics").text
    assert f"worker={worker}-a" in next(
        line for line in server.reported().splitlines() if "job.expired" in line and worker in line
    )
    http.delete(f"/v1/jobs/{worker}")


def test_ten_thousand_queued_shards_are_listed_quickly(http: httpx.Client, worker: str) -> None:
    names = [f"ohlcv:test:S{number}:1d" for number in range(10_000)]
    day = {"start": "2024-01-01T00:00:00Z", "end": "2024-01-02T00:00:00Z"}
    queued = http.post("/v1/jobs", json=job_body(worker, ranges=[{"series": name, **day} for name in names]))
    assert queued.json()["shards"] == 10_000, queued.text
    took = []
    for _ in range(10):
        began = time.perf_counter()
        (shown,) = [one for one in http.get("/v1/jobs").json()["jobs"] if one["job"] == worker]
        took.append(time.perf_counter() - began)
    assert shown["queued"] == 10_000
    assert min(took) < 0.5, "ten times the goal, for machines that are busy"
    listed = http.get(f"/v1/jobs/{worker}/shards", params={"limit": 10_000}).json()
    assert [one["lease_key"].split("/")[1] for one in listed["shards"]] == names
    http.delete(f"/v1/jobs/{worker}")


REVERSED = {**RANGE, "start": RANGE["end"], "end": RANGE["start"]}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"spam": 1}, "spam: Extra inputs are not permitted"),
        ({"job": "a/b"}, "job: String should match pattern"),
        ({"job": "x" * 65}, "job: String should match pattern"),
        ({"store": "a/b"}, "no slash"),
        ({"by": "x" * 10_000}, "by: String should have at most 200 characters"),
        ({"ranges": []}, "ranges: List should have at least 1 item"),
        ({"ranges": [RANGE] * 10_001}, "at most 10000 items"),
        ({"ranges": [REVERSED]}, "reversed or empty"),
        ({"ranges": [{**RANGE, "end": RANGE["start"]}]}, "reversed or empty"),
        ({"ranges": [{**RANGE, "series": "BTC"}]}, "is not a node id"),
        ({"ranges": [{**RANGE, "end": 7}]}, "write a time as ISO 8601"),
        ({"ranges": [{**RANGE, "start": "1700-01-01T00:00:00Z"}] * 20}, "the job is too large"),
    ],
)
def test_a_job_that_cannot_be_queued(
    http: httpx.Client, worker: str, changes: dict[str, Any], reason: str
) -> None:
    answer = http.post("/v1/jobs", json=job_body(worker) | changes)
    assert answer.status_code == 422, answer.text
    assert reason in answer.json()["detail"]
    assert len(answer.content) < 3_000
    assert http.get(f"/v1/jobs/{worker}").status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("take", {}, 422),
        ("take", {"worker": "w", "take_id": "t", "store": "s", "ttl_s": 0}, 422),
        ("take", {"worker": "x" * 10_000, "take_id": "t", "store": "s", "ttl_s": 9}, 422),
        ("nothing/end", {"number": 0, "take_id": "t", "outcome": "done"}, 409),
        ("nothing/end", {"number": -1, "take_id": "t", "outcome": "done"}, 422),
        ("nothing/end", {"number": 0, "take_id": "t", "outcome": "lost"}, 422),
        ("nothing/end", {"number": 0, "take_id": "t", "outcome": "failed", "why": "x" * 2_001}, 422),
    ],
)
def test_what_a_worker_may_not_say(http: httpx.Client, path: str, body: dict[str, Any], status: int) -> None:
    assert http.post(f"/v1/jobs/{path}", json=body).status_code == status


def test_what_is_not_there(http: httpx.Client) -> None:
    assert http.get("/v1/jobs/nothing").status_code == 404
    assert http.delete("/v1/jobs/nothing").status_code == 404
    assert http.get("/v1/jobs/nothing/shards").status_code == 404
    assert http.get("/v1/jobs/nothing/shards?limit=0").status_code == 422
    assert http.get("/v1/jobs/a%20b").status_code == 422


def test_another_workers_shard_is_not_ended(http: httpx.Client, worker: str) -> None:
    http.post("/v1/jobs", json=job_body(worker))
    http.post("/v1/jobs/take", json=take_body(worker)).raise_for_status()
    end = {"number": 0, "take_id": "of another", "outcome": "failed", "why": "a lie"}
    assert http.post(f"/v1/jobs/{worker}/end", json=end).status_code == 409
    assert http.get(f"/v1/jobs/{worker}").json()["claimed"] == 1
    http.delete(f"/v1/jobs/{worker}")


def test_who_may_only_read_queues_takes_and_cancels_nothing(
    serve: Callable[..., CoordinatorProcess], etcd: EtcdCluster, tmp_path: Path, worker: str
) -> None:
    (tmp_path / "auth.yml").write_text(f"tokens: {{a: {{role: read, sha256: '{token_hash('reads')}'}}}}\n")
    coordinator = serve(etcd, "--auth", tmp_path / "auth.yml")
    reader = {"authorization": "Bearer reads"}
    with httpx.Client(base_url=coordinator.url, headers=reader, timeout=60) as http:
        assert http.get("/v1/jobs").status_code == 200
        assert http.post("/v1/jobs", json=job_body(worker)).status_code == 403
        assert http.post("/v1/jobs/take", json=take_body(worker)).status_code == 403
        assert http.delete(f"/v1/jobs/{worker}").status_code == 403
    assert coordinator.end() == 0
