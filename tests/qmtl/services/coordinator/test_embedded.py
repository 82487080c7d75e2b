"""A coordinator without a database: the promises of leases, and the locks that all of a machine see."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import httpx
import pytest
import uvicorn
from prometheus_client import CollectorRegistry

import qmtl
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.leases import ShardProgress
from qmtl.runtime.coordination.distributed import DistributedBackfillCoordinator
from qmtl.runtime.coordination.local_leases import LocalLeases
from qmtl.runtime.coordination.shard_leases import Granted, Held
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.lease_suite import Connect, LeaseSuite, granted, request
from qmtl.runtime.testing.vendors import ScriptedVendor
from qmtl.services.coordinator.app import make_app
from qmtl.services.coordinator.embedded import EmbeddedLeases
from qmtl.services.coordinator.memory_keys import MemoryKeys
from tests.qmtl.ports import free_port
from tests.qmtl.served_process import QMTL, ServedProcess

BOTH_ENGINES = True

SERIES = "ohlcv:test:BTC/USDT:1m"
NewWorker = Callable[[], DistributedBackfillCoordinator]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the locks of the machine lie."""
    return tmp_path / "claims"


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    app = make_app(MemoryKeys(), stores={"store": LocalLeases(folder), "another": LocalLeases(folder)})
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive()
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(60)


@pytest.fixture
def new_worker(url: str, patient: None) -> Iterator[NewWorker]:
    made: list[DistributedBackfillCoordinator] = []

    def new() -> DistributedBackfillCoordinator:
        made.append(DistributedBackfillCoordinator(url, ttl_s=60))
        return made[-1]

    yield new
    for worker in made:
        worker.close()


class TestEmbeddedLeases(LeaseSuite):
    remembers = True

    @pytest.fixture
    def connect(self, new_worker: NewWorker) -> Connect:
        return new_worker


def test_workers_with_and_without_the_coordinator_exclude_each_other(
    new_worker: NewWorker, folder: Path
) -> None:
    async def story() -> None:
        alone, worker = LocalLeases(folder), new_worker()
        (mine,) = granted(await alone.claim([request(7)], claim_id="alone"))
        await alone.renew([mine], ShardProgress(3, 9))
        seven, eight = await worker.claim([request(7), request(8)], claim_id="worker")
        assert isinstance(seven, Held)
        assert seven.progress == ShardProgress(3, 9)
        assert isinstance(eight, Granted)
        await worker.renew([eight], ShardProgress(1, 2))
        (answer,) = await alone.claim([request(8)], claim_id="alone")
        assert isinstance(answer, Held)
        assert answer.progress == ShardProgress(1, 2)
        await alone.complete([mine], as_of=50)
        granted(await worker.claim([request(7)], claim_id="worker again"))
        await worker.complete([eight], as_of=50)
        granted(await alone.claim([request(8)], claim_id="alone again"))

    asyncio.run(story())


def test_what_is_only_asked_about_is_not_locked(new_worker: NewWorker, folder: Path) -> None:
    async def story() -> None:
        one, two = new_worker(), new_worker()
        await one.complete(granted(await one.claim([request(7)], claim_id="one")), as_of=50)
        await two.claim([request(7, read_as_of=49)], claim_id="two")  # is done
        granted(await LocalLeases(folder).claim([request(7)], claim_id="alone"))

    asyncio.run(story())


def test_the_locks_of_a_worker_that_dies_are_free_when_its_session_has_ended(folder: Path) -> None:
    clock, seen = FakeClock("2024-02-01"), []

    def locks() -> list[Path]:
        return list(folder.iterdir())

    stores = {"store": LocalLeases(folder)}
    leases = EmbeddedLeases(MemoryKeys(), stores, clock, lambda step: seen.append(type(step.event).__name__))

    async def story() -> None:
        await leases.claim("worker", "claim", [request(7)], ttl_s=10)
        await leases.sweep()
        assert len(locks()) == 1
        clock.advance(10.5)
        await leases.sweep()
        assert locks() == []
        assert seen == ["Granted", "Expired", "Requeued"]
        found = await leases.claim("another", "claim 2", [request(7)], ttl_s=10)
        assert isinstance(found.answers[0], Granted)

    asyncio.run(story())


def test_a_second_coordinator_grants_nothing_that_the_first_has_granted(folder: Path) -> None:
    clock = FakeClock("2024-02-01")
    first, second = (
        EmbeddedLeases(MemoryKeys(), {"store": LocalLeases(folder)}, clock, lambda _: None) for _ in range(2)
    )

    async def story() -> None:
        await first.claim("one", "claim 1", [request(7)], ttl_s=10)
        found = await second.claim("two", "claim 2", [request(6), request(7), request(8)], ttl_s=10)
        assert [type(answer) for answer in found.answers] == [Granted, Held, Granted]
        assert [answer.key.shard for answer in found.answers] == [6, 7, 8]

    asyncio.run(story())


def test_another_store_is_refused(new_worker: NewWorker) -> None:
    with pytest.raises(qmtl.LeaseError, match="is of 2 stores, store, another"):
        asyncio.run(new_worker().claim([request(7, store="a third")], claim_id="one"))


# -- the command ------------------------------------------------------------------------------------------


def test_a_fetch_goes_on_alone_when_the_command_is_killed(
    place_named: Callable[[str], Path | str], tmp_path: Path
) -> None:
    store = place_named("bars")
    server = ServedProcess(
        tmp_path / "log", "-v", "--store", store, "serve", "coordinator", "--embedded", "--port", 0
    )
    assert httpx.get(f"{server.url}/readyz", timeout=60).status_code == 200
    with qmtl.SeamlessDataProvider(
        store,
        ScriptedVendor(),
        coordinator=server.url,
        metrics_registry=CollectorRegistry(),
        progress=False,
    ) as provider:
        first = provider.fetch(SERIES, "2024-01-01", "2024-01-02")
        (lease,) = httpx.get(f"{server.url}/v1/leases", timeout=60).json()["leases"]
        assert (first.receipt.uncoordinated, lease["state"]) == (None, "completed")
        assert lease["lease_key"].startswith(provider.store.place_id)
        server.end(signal.SIGKILL)
        second = provider.fetch(SERIES, "2024-01-02", "2024-01-03")
    assert (first.frame.height, second.frame.height) == (1440, 1440)
    assert "does not answer" in (second.receipt.uncoordinated or "")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "none is named"),
        (["--embedded", "--etcd", "http://127.0.0.1:2379"], "--etcd and --embedded are given"),
        (["--embedded", "--host", "0.0.0.0", "--unprotected"], "is of this machine alone"),
        (["--embedded", "--auth", "nosuch.yml"], "nosuch.yml cannot be read"),
        (["--embedded", "--tls-cert", "no.pem", "--tls-key", "no.pem"], "the certificate or its key"),
        (["--embedded", "--port", "{taken}"], "cannot serve on"),
    ],
)
def test_what_the_command_refuses(tmp_path: Path, words: list[str], why: str) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as other:
        words = [word.format(taken=other.getsockname()[1]) for word in words]
        command = [QMTL, "--store", tmp_path / "bars", "serve", "coordinator", "--port", "0", *words]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 2
    assert why in " ".join(ended.stderr.split())
    assert not (tmp_path / "bars").exists()


def test_a_store_in_memory_has_nothing_to_coordinate() -> None:
    from qmtl.runtime.io.store.memory import MemoryStore
    from qmtl.services.coordinator.serving import serve_coordinator

    nothing = {"auth": None, "tls_cert": None, "tls_key": None, "unprotected": False}
    with pytest.raises(InvalidRequestError, match="nothing to coordinate"):
        serve_coordinator(
            lambda: nullcontext(MemoryStore()), host="127.0.0.1", port=0, ready=print, **nothing
        )


def test_jobs_of_another_store_are_refused(url: str) -> None:
    """They would be queued for workers that nobody can begin."""
    wanted = [{"series": SERIES, "start": "2024-01-01", "end": "2024-01-02"}]
    with httpx.Client(base_url=url, timeout=60) as http:
        job = {"job": "a", "store": "store", "by": "b", "ranges": wanted}
        assert http.post("/v1/jobs", json=job).status_code == 200
        refused = http.post("/v1/jobs", json={**job, "job": "other", "store": "elsewhere"})
        assert refused.status_code == 422
        assert "of 2 stores, store, another" in refused.json()["detail"]
        assert "elsewhere" in refused.json()["detail"]
        take = {"worker": "w", "take_id": "t", "ttl_s": 60}
        assert http.post("/v1/jobs/take", json={**take, "store": "elsewhere"}).status_code == 422
        assert http.post("/v1/jobs/take", json={**take, "store": "store"}).json()["taken"] is not None
