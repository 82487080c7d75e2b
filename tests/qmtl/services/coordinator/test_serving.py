"""The coordinator itself, before a real etcd: what it answers and refuses, and what it does by itself."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from qmtl.foundation.times import SECOND
from qmtl.services.coordinator.app import BODY_LIMIT
from qmtl.services.coordinator.etcd import Etcd
from qmtl.services.coordinator.key_values import Put
from qmtl.services.coordinator.routes import LIMIT_S
from qmtl.services.http.access import token_hash
from tests.qmtl.etcd import EtcdCluster
from tests.qmtl.services.coordinator.conftest import CoordinatorProcess

SERIES = "ohlcv:test:BTC/USDT:1m"
# The first hour of shard 0.
HOUR = [["1970-01-01T00:00:00Z", "1970-01-01T01:00:00Z"]]
YEAR_S = 365 * 86_400


def claim_body(worker: str, *shards: int, **more: Any) -> dict[str, Any]:
    keys = [{"series": SERIES, "shard": shard, "cells": HOUR if shard == 0 else []} for shard in shards]
    return {"worker": worker, "store": worker, "claim_id": worker, "ttl_s": 10, "keys": keys, **more}


def key_of(worker: str, shard: int = 0) -> str:
    return f"{worker}/{SERIES}/{shard}"


def claimed(http: httpx.Client, worker: str, *shards: int, **more: Any) -> list[dict[str, Any]]:
    answer = http.post("/v1/leases/claim", json=claim_body(worker, *shards, **more))
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()["answers"]
    return found


def until(what: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.1)
    return found


def test_the_life_of_a_lease(http: httpx.Client, worker: str) -> None:
    answer = http.post("/v1/leases/claim", json=claim_body(worker, 0, 1)).json()
    assert [one["state"] for one in answer["answers"]] == ["granted", "granted"]
    assert answer["answers"][0]["lease_key"] == key_of(worker)
    assert 0 < answer["expires_in_s"] <= 10
    other = f"{worker}-b"
    (waiting,) = claimed(http, other, 0, store=worker)
    assert (waiting["state"], waiting["holder"], waiting["retry_after_ms"]) == ("held", worker, 200)
    assert waiting.get("progress") is None
    leases = [{"lease_key": key_of(worker, shard), "claim_id": worker} for shard in (0, 1)]
    progress = {"done": 3, "total": 9}
    renewed = http.post(
        "/v1/leases/renew", json={"worker": worker, "leases": leases, "progress": progress}
    ).json()
    assert renewed["session"] == answer["session"]
    assert claimed(http, other, 0, store=worker)[0]["progress"] == progress
    stored_at = "2024-01-01T00:00:00.123456789Z"
    end = {"worker": worker, "claim_id": worker, "lease_keys": [key_of(worker)], "as_of": stored_at}
    for _ in range(2):
        assert http.post("/v1/leases/complete", json=end).json() == {"status": "completed"}
    assert claimed(http, other, 0, store=worker)[0] == {
        "lease_key": key_of(worker),
        "state": "done",
        "as_of": stored_at,
    }
    failed = {
        "worker": worker,
        "claim_id": worker,
        "lease_keys": [key_of(worker, 1)],
        "why": "the venue is down",
    }
    assert http.post("/v1/leases/fail", json=failed).json() == {"status": "freed"}
    shown = http.get(f"/v1/leases/{key_of(worker, 1)}").json()
    assert (shown["state"], shown["why"], shown["attempts"]) == ("requeued", "the venue is down", 1)
    again = http.post("/v1/leases/claim", json=claim_body(worker, 1))
    assert (again.status_code, "has ended before" in again.json()["detail"]) == (409, True)


def test_another_coordinator_takes_over(
    serve: Callable[..., CoordinatorProcess], etcd: EtcdCluster, http: httpx.Client, worker: str
) -> None:
    claimed(http, worker, 0, 1, ttl_s=60)  # a process takes its time to begin
    coordinator = serve(etcd)
    with httpx.Client(base_url=coordinator.url, timeout=60) as second:
        lease = {"lease_key": key_of(worker), "claim_id": worker}
        assert second.post("/v1/leases/renew", json={"worker": worker, "leases": [lease]}).status_code == 200
        end = {"worker": worker, "claim_id": worker, "lease_keys": [key_of(worker)]}
        done = second.post("/v1/leases/complete", json={**end, "as_of": "2024-01-01T00:00:00Z"})
        assert done.status_code == 200
        assert claimed(http, f"{worker}-b", 0, 1, store=worker)[0]["state"] == "done"
        assert claimed(second, f"{worker}-b", 1, store=worker)[0]["holder"] == worker
    assert coordinator.end() == 0, "so that no other one sweeps what later tests count"


def test_a_worker_that_dies_is_noticed_counted_and_told(
    http: httpx.Client, server: CoordinatorProcess, worker: str
) -> None:
    claimed(http, worker, 0, 1, ttl_s=2)
    until(lambda: http.get(f"/v1/leases/{key_of(worker)}").json()["state"] == "requeued")
    lease = {"lease_key": key_of(worker), "claim_id": worker}
    renewed = http.post("/v1/leases/renew", json={"worker": worker, "leases": [lease]})
    assert (renewed.status_code, renewed.json()["lost"]) == (409, [key_of(worker)])
    end = {"worker": worker, "claim_id": worker, "lease_keys": [key_of(worker)]}
    late = http.post("/v1/leases/complete", json={**end, "as_of": "2024-01-01T00:00:00Z"})
    assert (late.status_code, late.json()["lost"]) == (409, [key_of(worker)])
    assert worker not in [one["worker"] for one in http.get("/v1/workers").json()]
    # The coordinator counts and logs what it has stored, when etcd has confirmed it.
    reason = 'seamless_backfill_leases_expired_total{reason="session_ended"}'
    until(lambda: reason in http.get("/metrics").text)

    def told() -> list[str]:
        lines = server.reported().splitlines()
        return [line for line in lines if "lease.expired" in line and worker in line]

    until(lambda: len(told()) == 2)
    assert f"holder={worker}" in told()[0]


def test_a_poisoned_shard_is_shown_and_stops_nobody(http: httpx.Client, worker: str) -> None:
    for number in range(5):
        claim_id = f"{worker}-{number}"
        claimed(http, worker, 0, claim_id=claim_id)
        end = {
            "worker": worker,
            "claim_id": claim_id,
            "lease_keys": [key_of(worker)],
            "why": "no such symbol",
        }
        http.post("/v1/leases/fail", json=end).raise_for_status()
    shown = {one["lease_key"]: one for one in http.get("/v1/violations").json()}[key_of(worker)]
    assert shown["state"] == "abandoned"
    assert shown["violation"] == {"attempts": 5, "why": "no such symbol"}
    assert claimed(http, f"{worker}-b", 0, 1, store=worker)[0]["state"] == "granted"


def test_leases_in_pages(http: httpx.Client, worker: str) -> None:
    claimed(http, worker, *range(25))
    found: list[str] = []
    after = key_of(worker, 0)[: len(worker)]
    while after is not None and len(found) < 25:
        page = http.get("/v1/leases", params={"after": after, "limit": 10}).json()
        found += [one["lease_key"] for one in page["leases"]]
        after = page["next"]
    assert sorted(found[:25]) == sorted(key_of(worker, shard) for shard in range(25))
    assert http.get(f"/v1/leases/{worker}%2F{SERIES.replace('/', '%2F')}%2F3").json()["state"] == "held"


def test_a_hundred_shards_at_once(http: httpx.Client, worker: str) -> None:
    answers = claimed(http, worker, *range(100))
    assert [one["lease_key"] for one in answers] == [key_of(worker, shard) for shard in range(100)]
    assert {one["state"] for one in answers} == {"granted"}


# -- what is refused ---------------------------------------------------------------------------------------


def wanted(**changes: Any) -> dict[str, Any]:
    key = {"series": SERIES, "shard": 0, "cells": HOUR, **changes}
    return {"keys": [{name: value for name, value in key.items() if value is not None}]}


REVERSED = [HOUR[0][::-1]]
OF_ANOTHER_SHARD = [["1971-01-01T00:00:00Z", "1971-01-01T01:00:00Z"]]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"spam": 1}, "spam: Extra inputs are not permitted"),
        ({"worker": ""}, "worker: String should have at least 1 character"),
        ({"worker": "x" * 10_000}, "worker: String should have at most 200 characters"),
        ({"worker": "a\nb"}, "control characters"),
        ({"worker": None}, "worker: Input should be a valid string"),
        ({"store": "a/b"}, "no slash"),
        ({"ttl_s": 0}, "ttl_s: Input should be greater than or equal to 2"),
        ({"ttl_s": YEAR_S}, "ttl_s: Input should be less than or equal to 600"),
        ({"ttl_s": 2.5}, "ttl_s: Input should be a valid integer"),
        ({"ttl_s": True}, "ttl_s: Input should be a valid integer"),
        ({"claim_id": "x" * 65}, "claim_id: String should have at most 64 characters"),
        ({"keys": []}, "keys: List should have at least 1 item"),
        ({"keys": claim_body("w", *range(101))["keys"]}, "at most 100 items"),
        ({"keys": claim_body("w", 3, 3)["keys"]}, "named twice"),
        (wanted(cells=REVERSED), "reversed, empty, or not of that shard"),
        (wanted(cells=[[HOUR[0][0], HOUR[0][0]]]), "reversed, empty, or not of that shard"),
        (wanted(cells=OF_ANOTHER_SHARD), "cut ranges at them"),
        (wanted(cells=[["yesterday", "today"]]), "'yesterday' is not a time"),
        (wanted(cells=[[0, 60]]), "write a time as ISO 8601"),
        (wanted(cells=HOUR * 10_001), "at most 10000 items"),
        (wanted(series="BTC/USDT"), "is not a node id"),
        (wanted(series="ohlcv:test:A:7x"), "timeframe '7x' is not known"),
        (wanted(series="x" * 400), "at most 300 characters"),
        (wanted(shard=None), "shard: Field required"),
        (wanted(shard=2**40), "shard: Input should be less than"),
        (wanted(shard="0"), "shard: Input should be a valid integer"),
        (wanted(read_as_of=7), "write a time as ISO 8601"),
    ],
)
def test_a_claim_that_cannot_be_used(http: httpx.Client, changes: dict[str, Any], reason: str) -> None:
    answer = http.post("/v1/leases/claim", json=claim_body("w", 0) | changes)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert reason in answer.json()["detail"]
    assert len(answer.content) < 3_000, "what was sent is not sent back"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("renew", {}, 422),
        ("renew", {"worker": "w", "leases": [{"lease_key": "a/b", "claim_id": "c"}]}, 422),
        ("renew", {"worker": "w", "leases": [{"lease_key": "s/x/1", "claim_id": "c"}] * 2}, 422),
        ("renew", {"worker": "w", "progress": {"done": -1, "total": 1}}, 422),
        ("renew", {"worker": "nobody"}, 409),
        ("complete", {"worker": "w", "claim_id": "c", "lease_keys": [], "as_of": "2024-01-01"}, 422),
        ("complete", {"worker": "w", "claim_id": "c", "lease_keys": ["s/x/1"]}, 422),
        ("complete", {"worker": "w", "claim_id": "c", "lease_keys": ["s/x/1"], "as_of": "2024-01-01"}, 409),
        ("fail", {"worker": "w", "claim_id": "c", "lease_keys": ["s/x/1"], "why": "x" * 3_000}, 422),
        ("fail", {"worker": "w", "claim_id": "c", "lease_keys": ["s/x/1"] * 101, "why": ""}, 422),
        ("spam", {}, 405),
    ],
)
def test_other_bodies(http: httpx.Client, path: str, body: dict[str, Any], status: int) -> None:
    assert http.post(f"/v1/leases/{path}", json=body).status_code == status


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("claim", claim_body("w", 0) | {"worker": "\ud800"}),
        ("claim", claim_body("w", 0) | {"claim_id": "\udc00"}),
        ("fail", {"worker": "w", "claim_id": "c", "lease_keys": ["s/\ud800/1"], "why": ""}),
    ],
)
def test_names_that_are_no_text(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    """JSON can write half a surrogate pair, which no database takes."""
    kind = {"content-type": "application/json"}
    answer = http.post(f"/v1/leases/{path}", content=json.dumps(body), headers=kind)
    assert answer.status_code == 422, answer.text


def test_a_claim_of_another_worker(http: httpx.Client, worker: str) -> None:
    claimed(http, worker, 0)
    thief = f"{worker}-b"
    claimed(http, thief, 1)
    lease = {"lease_key": key_of(worker), "claim_id": worker}
    renewed = http.post("/v1/leases/renew", json={"worker": thief, "leases": [lease]})
    assert (renewed.status_code, renewed.json()["lost"]) == (409, [key_of(worker)])
    end = {"worker": thief, "claim_id": worker, "lease_keys": [key_of(worker)]}
    completed = http.post("/v1/leases/complete", json={**end, "as_of": "2024-01-01T00:00:00Z"})
    assert completed.status_code == 409
    http.post("/v1/leases/fail", json={**end, "why": "mischief"})
    assert http.get(f"/v1/leases/{key_of(worker)}").json()["state"] == "held"


def test_bodies_that_are_too_long_or_no_json(http: httpx.Client) -> None:
    json_type = {"content-type": "application/json"}
    for content, status in ((b"x" * 10 * 2**20, 413), (b"{", 400), (b"[]", 422), (b"null", 422)):
        assert http.post("/v1/leases/claim", content=content, headers=json_type).status_code == status
    assert (
        http.post("/v1/leases/claim", content=b"{}", headers={"content-type": "text/plain"}).status_code
        == 415
    )
    assert BODY_LIMIT < 10 * 2**20


@pytest.mark.parametrize(
    "path", ["/v1/leases?limit=0", "/v1/leases?limit=1001", "/v1/leases/a%FFb/x/1", "/v1/leases/x"]
)
def test_readings_that_cannot_be_used(http: httpx.Client, path: str) -> None:
    assert http.get(path).status_code == 422
    assert http.get("/v1/leases/s/nothing/1").status_code == 404


def test_roles(serve: Callable[..., CoordinatorProcess], etcd: EtcdCluster, tmp_path: Path) -> None:
    tokens = {role: {"role": role, "sha256": token_hash(f"{role}-token")} for role in ("read", "write")}
    (tmp_path / "auth.yml").write_text(f"tokens: {tokens}\n")
    coordinator = serve(etcd, "--auth", tmp_path / "auth.yml")
    url = coordinator.url
    reader, writer, stranger = (
        {"authorization": f"Bearer {token}"} for token in ("read-token", "write-token", "guessed")
    )
    body = claim_body(f"roles-{os.urandom(4).hex()}", 0)
    with httpx.Client(base_url=url, timeout=60) as http:
        coordinator.process.send_signal(signal.SIGHUP)
        assert http.get("/readyz").json() == {"status": "ready"}
        for path in ("/v1/leases", "/v1/workers", "/v1/violations", "/metrics", "/docs", "/openapi.json"):
            assert http.get(path).status_code == 401
            assert http.get(path, headers=stranger).status_code == 401
            assert http.get(path, headers=reader).status_code == 200
        assert http.post("/v1/leases/claim", json=body, headers=reader).status_code == 403
        assert http.post("/v1/leases/claim", json=body, headers=writer).status_code == 200
    coordinator.end()


def test_its_page_tells_every_route(http: httpx.Client) -> None:
    page = http.get("/openapi.json").json()
    assert {path for path in page["paths"] if path.startswith("/v1")} == {
        *(f"/v1/leases/{what}" for what in ("claim", "renew", "complete", "fail", "{lease_key}")),
        *("/v1/leases", "/v1/history", "/v1/workers", "/v1/violations"),
        *("/v1/rates/take", "/v1/rates/pause"),
        *("/v1/jobs", "/v1/jobs/take", "/v1/jobs/{job}", "/v1/jobs/{job}/shards", "/v1/jobs/{job}/end"),
    }
    responses = page["paths"]["/v1/leases/claim"]["post"]["responses"]
    assert {"200", "400", "406", "408", "409", "413", "415", "422", "500", "503"} == set(responses)


# -- without a leader ----------------------------------------------------------------------------------------


def test_every_route_answers_in_time_without_a_leader_and_goes_on_with_one(
    serve: Callable[..., CoordinatorProcess], new_etcd: Callable[..., EtcdCluster], worker: str
) -> None:
    cluster = new_etcd(3)
    coordinator = serve(cluster)
    with httpx.Client(base_url=coordinator.url, timeout=60) as http:
        claimed(http, worker, 0, ttl_s=60)
        for member in (1, 2):
            cluster.send(member, signal.SIGKILL)
        asked: list[tuple[str, str, Any]] = [
            ("POST", "/v1/leases/claim", claim_body(worker, 1)),
            ("POST", "/v1/leases/renew", {"worker": worker}),
            ("POST", "/v1/leases/fail", {"worker": worker, "claim_id": "x", "lease_keys": [], "why": ""}),
            ("GET", "/v1/leases", None),
            ("GET", "/readyz", None),
        ]
        for method, path, body in asked:
            began = time.monotonic()
            answer = http.request(method, path, json=body)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), path
            assert answer.headers["content-type"] == "application/problem+json"
            assert time.monotonic() - began < LIMIT_S + 15
        assert http.get("/healthz").status_code == 200, "it lives all the same"
        cluster.start(1)
        until(lambda: http.get("/readyz").status_code == 200)
        assert claimed(http, f"{worker}-b", 0, store=worker)[0]["holder"] == worker
    assert coordinator.end() == 0


def test_clocks_that_are_apart_are_a_warning_of_one_that_is_ready(
    serve: Callable[..., CoordinatorProcess], new_etcd: Callable[..., EtcdCluster]
) -> None:
    cluster = new_etcd()
    coordinator = serve(cluster)

    def set_other(put: Put | None) -> None:
        async def run() -> None:
            etcd = Etcd(cluster.urls)
            await etcd.commit({}, {"clocks/secret-host:1:00": put})
            await etcd.close()

        asyncio.run(run())

    with httpx.Client(base_url=coordinator.url, timeout=60) as http:
        assert http.get("/readyz").json() == {"status": "ready"}
        set_other(Put(json.dumps({"at": time.time_ns() + 3_600 * SECOND}).encode()))
        until(lambda: "warnings" in http.get("/readyz").json())
        answer = http.get("/readyz")
        (warning,) = answer.json()["warnings"]
        assert answer.status_code == 200
        assert re.search(r"another coordinator is 3[56]\d\d s ahead of this one's; .*NTP", warning)
        assert "secret-host" not in warning, "anybody may ask"
        set_other(None)
        until(lambda: http.get("/readyz").json() == {"status": "ready"})
    coordinator.end()


def test_an_etcd_that_runs_out_of_space_is_named_as_the_reason(
    serve: Callable[..., CoordinatorProcess], new_etcd: Callable[..., EtcdCluster], worker: str
) -> None:
    cluster = new_etcd(1, f"--quota-backend-bytes={2 * 2**20}")
    full = serve(cluster)
    with httpx.Client(base_url=full.url, timeout=60) as http:
        claimed(http, worker, 0)
        value = b64encode(b"x" * 10**6).decode()
        for number in range(10):
            key = b64encode(f"/filler/{number}".encode()).decode()
            put = httpx.post(f"{cluster.urls[0]}/v3/kv/put", json={"key": key, "value": value}, timeout=60)
            if put.status_code != 200:
                break
        refused = http.post("/v1/leases/claim", json=claim_body(worker, 1))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "space exceeded" in refused.json()["detail"]
        assert "compact and defragment" in refused.json()["detail"]
        assert http.get(f"/v1/leases/{key_of(worker)}").json()["state"] == "held", "it is read all the same"
    full.end()


def test_a_completion_that_comes_after_the_expiry(http: httpx.Client, worker: str) -> None:
    assert claimed(http, worker, 0, ttl_s=2)[0]["state"] == "granted"
    until(lambda: http.get(f"/v1/leases/{key_of(worker)}").json()["state"] != "held", 60)
    end = {"worker": worker, "claim_id": worker, "lease_keys": [key_of(worker)]}
    late = http.post("/v1/leases/complete", json={**end, "as_of": "2024-01-01T00:00:00Z"})
    assert (late.status_code, late.json()["lost"]) == (409, [key_of(worker)])
    assert http.get(f"/v1/leases/{key_of(worker)}").json()["state"] == "requeued"
