"""Workers before a real coordinator: the promises of leases, lost messages, a service that comes and goes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import polars as pl
import pytest
from prometheus_client import CollectorRegistry

from qmtl import SeamlessDataProvider
from qmtl.foundation.errors import CoordinatorUnavailableError, InvalidRequestError, LeaseError
from qmtl.foundation.leases import ShardProgress
from qmtl.foundation.times import to_ns
from qmtl.runtime.coordination.distributed import DistributedBackfillCoordinator
from qmtl.runtime.coordination.shard_leases import Granted, Held, ShardLeases
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.lease_suite import Connect, LeaseSuite, granted, request
from qmtl.runtime.testing.vendors import ScriptedVendor
from qmtl.services.http.access import token_hash
from tests.qmtl.etcd import EtcdCluster
from tests.qmtl.ports import free_port
from tests.qmtl.services.coordinator.conftest import CoordinatorProcess, forget_all
from tests.qmtl.services.coordinator.relay import Lose, Relay

pytestmark = pytest.mark.usefixtures("patient")

SERIES = "ohlcv:test:BTC/USDT:1m"
NewWorker = Callable[..., DistributedBackfillCoordinator]


@pytest.fixture
def new_worker(server: CoordinatorProcess, etcd: EtcdCluster) -> Iterator[NewWorker]:
    """`new_worker(url=..., ttl_s=...)`: one more worker; nothing was claimed before this test."""
    forget_all(etcd)
    made: list[DistributedBackfillCoordinator] = []

    def new(url: str = server.url, **options: object) -> DistributedBackfillCoordinator:
        made.append(DistributedBackfillCoordinator(url, **{"ttl_s": 10, **options}))  # type: ignore[arg-type]
        return made[-1]

    yield new
    for worker in made:
        worker.close()


@pytest.fixture
def relay(server: CoordinatorProcess) -> Iterator[Relay]:
    relay = Relay(server.url)
    yield relay
    relay.close()


class TestDistributedLeases(LeaseSuite):
    remembers = True

    @pytest.fixture
    def connect(self, new_worker: NewWorker) -> Connect:
        return partial(new_worker, ttl_s=60)


def claim(worker: ShardLeases, *shards: int, claim_id: str, read_as_of: int = 0) -> list[object]:
    wanted = [request(shard, read_as_of=read_as_of) for shard in shards]
    return list(asyncio.run(worker.claim(wanted, claim_id=claim_id)))


# -- lifetimes ------------------------------------------------------------------------------------------


def test_a_lease_lives_on_with_its_worker_and_ends_with_it(new_worker: NewWorker) -> None:
    one, two = new_worker(ttl_s=10), new_worker()
    grants = granted(asyncio.run(one.claim([request(7)], claim_id="one")))
    time.sleep(12)  # more than a lifetime
    one.still_held(grants)
    assert isinstance(claim(two, 7, claim_id="two")[0], Held)
    stop_living(one)
    with pytest.raises(LeaseError):
        until_raises(lambda: one.still_held(grants))
    began = time.monotonic()
    while not isinstance(claim(two, 7, claim_id="two")[0], Granted):
        assert time.monotonic() - began < 60
        time.sleep(0.1)
    with pytest.raises(LeaseError):
        asyncio.run(one.renew(grants, ShardProgress(1, 2)))


def stop_living(worker: DistributedBackfillCoordinator) -> None:
    """As if its process had been killed."""

    async def stop() -> None:
        assert worker._living is not None
        worker._living.cancel()

    worker._loop.submit(stop()).result(60)


def until_raises(check: Callable[[], None]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        check()
        time.sleep(0.05)


def test_a_holder_stops_before_its_lifetime_is_over(new_worker: NewWorker) -> None:
    clock = FakeClock()
    worker = new_worker(clock=clock)
    grants = granted(asyncio.run(worker.claim([request(7)], claim_id="one")))
    clock.advance(7.5)
    worker.still_held(grants)
    clock.advance(1)
    for ask in (
        lambda: worker.still_held(grants),
        lambda: asyncio.run(worker.renew(grants, ShardProgress(1, 2))),
        lambda: asyncio.run(worker.complete(grants, as_of=50)),
    ):
        with pytest.raises(LeaseError, match="not held by this claim") as refused:
            ask()
        assert refused.value.lease_key == str(grants[0].key)
    assert isinstance(claim(new_worker(), 7, claim_id="two")[0], Held), "nobody else has it yet"


def test_work_on_a_lease_that_is_lost_is_told_so(new_worker: NewWorker, etcd: EtcdCluster) -> None:
    worker = new_worker(ttl_s=10)
    grants = granted(asyncio.run(worker.claim([request(7)], claim_id="one")))

    async def story() -> LeaseError:
        lost = asyncio.ensure_future(worker.lost(grants))
        _, pending = await asyncio.wait({lost}, timeout=1)
        assert pending, "it is held"
        forget_all(etcd)  # its session is gone, as when nobody had heard of it
        return await asyncio.wait_for(lost, 60)

    assert asyncio.run(story()).lease_key == str(grants[0].key)


# -- lost messages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("lose", [Lose.ANSWER, Lose.REQUEST])
def test_a_claim_without_an_answer_is_asked_again_and_granted_once(
    new_worker: NewWorker, relay: Relay, lose: Lose
) -> None:
    one, two = new_worker(relay.url), new_worker()
    relay.losing(lose, 1)
    grants = granted(asyncio.run(one.claim([request(7), request(8)], claim_id="one")))
    assert relay.seen == ["/v1/leases/claim"] * 2
    assert all(isinstance(answer, Held) for answer in claim(two, 7, 8, claim_id="two"))
    asyncio.run(one.complete(grants, as_of=50))
    granted(asyncio.run(two.claim([request(7, read_as_of=50)], claim_id="two")))


def test_a_claim_that_nobody_answers_is_given_up_and_holds_nothing(
    new_worker: NewWorker, relay: Relay
) -> None:
    one, two = new_worker(relay.url, ttl_s=2), new_worker()
    relay.losing(Lose.ANSWER, 2)
    with pytest.raises(CoordinatorUnavailableError, match=relay.url):
        claim(one, 7, claim_id="one")
    deadline = time.monotonic() + 60
    while not isinstance(claim(two, 7, claim_id="two")[0], Granted):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "/v1/leases/fail" in relay.seen
    assert isinstance(claim(one, 8, claim_id="one")[0], Held), "a claim that was given up is granted nothing"
    granted(asyncio.run(one.claim([request(8)], claim_id="another")))


def test_a_claim_in_doubt_that_is_partly_refused_is_given_up(new_worker: NewWorker, relay: Relay) -> None:
    one, two = new_worker(relay.url), new_worker()
    granted(asyncio.run(two.claim([request(8)], claim_id="two")))
    relay.losing(Lose.ANSWER, 1)
    assert [type(answer) for answer in claim(one, 7, 8, claim_id="one")] == [Held, Held]
    deadline = time.monotonic() + 60
    while not isinstance(claim(two, 7, claim_id="two again")[0], Granted):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("lose", [Lose.ANSWER, Lose.REQUEST])
@pytest.mark.parametrize("ends", ["complete", "fail"])
def test_an_ending_without_an_answer_is_said_again(
    new_worker: NewWorker, relay: Relay, lose: Lose, ends: str
) -> None:
    one, two = new_worker(relay.url, ttl_s=6), new_worker()
    grants = granted(asyncio.run(one.claim([request(7)], claim_id="one")))
    relay.losing(lose, 1)
    if ends == "complete":
        asyncio.run(one.complete(grants, as_of=50))
    else:
        asyncio.run(one.fail(grants, why="given up"))
    deadline = time.monotonic() + 60
    while not isinstance(claim(two, 7, claim_id="two", read_as_of=50)[0], Granted):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_renewal_without_an_answer_is_no_loss(new_worker: NewWorker, relay: Relay) -> None:
    one = new_worker(relay.url)
    grants = granted(asyncio.run(one.claim([request(7)], claim_id="one")))
    relay.losing(Lose.REQUEST, 1)
    asyncio.run(one.renew(grants, ShardProgress(1, 2)))
    one.still_held(grants)


def test_what_is_owed_is_said_when_the_worker_leaves(new_worker: NewWorker, relay: Relay) -> None:
    one, two = new_worker(relay.url), new_worker()
    grants = granted(asyncio.run(one.claim([request(7)], claim_id="one")))
    relay.losing(Lose.REQUEST, 1)
    asyncio.run(one.fail(grants, why="given up"))
    assert isinstance(claim(two, 7, claim_id="two")[0], Held)
    one.close()
    granted(asyncio.run(two.claim([request(7)], claim_id="two")))


# -- what is refused ------------------------------------------------------------------------------------


def test_nobody_answers(new_worker: NewWorker) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(CoordinatorUnavailableError) as refused:
        claim(new_worker(url), 7, claim_id="one")
    assert (refused.value.url, "/readyz" in (refused.value.next_step or "")) == (url, True)


def test_what_the_coordinator_refuses_is_raised(
    serve: Callable[..., CoordinatorProcess],
    etcd: EtcdCluster,
    new_worker: NewWorker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "auth.yml").write_text(f"tokens: {{a: {{role: write, sha256: '{token_hash('right')}'}}}}\n")
    url = serve(etcd, "--auth", tmp_path / "auth.yml").url
    granted(asyncio.run(new_worker(url, token="right").claim([request(7)], claim_id="one")))
    with pytest.raises(LeaseError, match="HTTP 401") as refused:
        claim(new_worker(url, token="wrong"), 7, claim_id="one")
    assert "coordinator_token" in (refused.value.next_step or "")
    assert "wrong" not in str(refused.value).replace("or wrong ones", "")
    with pytest.raises(LeaseError, match="HTTP 422"):
        claim(new_worker(url, token="right", ttl_s=0), 7, claim_id="one")
    monkeypatch.setenv("QMTL_SEAMLESS_COORDINATOR_URL", url)
    options = {"clock": FakeClock("2024-02-01T00:00:30Z"), "metrics_registry": CollectorRegistry()}
    with (
        SeamlessDataProvider(tmp_path / "bars", ScriptedVendor(), **options) as provider,  # type: ignore[arg-type]
        pytest.raises(LeaseError, match="HTTP 401"),
    ):
        provider.fetch(SERIES, "2024-01-01", "2024-01-02")
    monkeypatch.setenv("QMTL_SEAMLESS_COORDINATOR_TOKEN", "right")
    with SeamlessDataProvider(tmp_path / "bars", ScriptedVendor(), **options) as provider:  # type: ignore[arg-type]
        result = provider.fetch(SERIES, "2024-01-01", "2024-01-02")
        assert (result.frame.height, result.receipt.uncoordinated) == (1440, None)


@pytest.mark.parametrize("url", ["coordinator:8090", "http://", "http://user:secret@host", 7.5])
def test_what_is_no_url(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        SeamlessDataProvider(tmp_path / "bars", ScriptedVendor(), coordinator=url)
    assert "secret" not in str(refused.value)


# -- providers ------------------------------------------------------------------------------------------


def test_ten_requests_of_five_workers_ask_for_each_bar_once(
    server: CoordinatorProcess, etcd: EtcdCluster, postgres_url: str
) -> None:
    """Each worker has a client of its own, so that only the coordinator keeps them apart."""
    forget_all(etcd)
    clock = FakeClock("2024-02-01T00:00:30Z")
    vendors = [ScriptedVendor(page_rows=500) for _ in range(5)]
    providers = [
        SeamlessDataProvider(
            postgres_url, vendor, clock=clock, metrics_registry=CollectorRegistry(), coordinator=server.url
        )
        for vendor in vendors
    ]
    days = [(day, day + 7) for day in (1, 3, 5, 2, 8, 1, 6, 9, 4, 10)]
    try:

        def fetch(number: int) -> pl.DataFrame:
            first, last = days[number]
            result = providers[number % 5].fetch(SERIES, f"2024-01-{first:02}", f"2024-01-{last:02}")
            assert result.receipt.uncoordinated is None
            return result.frame

        with ThreadPoolExecutor(10) as threads:
            frames = list(threads.map(fetch, range(10)))
    finally:
        for provider in providers:
            provider.close()
    assert {frame.height for frame in frames} == {7 * 1440}
    asked = [call.span for vendor in vendors for call in vendor.calls]
    bars = sum((span.end - span.start) // (60 * 10**9) for span in asked)
    assert bars == 16 * 1440
    assert min(span.start for span in asked) == to_ns("2024-01-01")


def test_while_the_coordinator_is_away_this_machine_goes_on_alone(
    serve: Callable[..., CoordinatorProcess],
    etcd: EtcdCluster,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    forget_all(etcd)
    registry, port = CollectorRegistry(), free_port()
    url = f"http://127.0.0.1:{port}"
    clock = FakeClock("2024-02-01T00:00:30Z")
    with (
        caplog.at_level(logging.INFO, "seamless.backfill"),
        SeamlessDataProvider(
            tmp_path / "bars", ScriptedVendor(), clock=clock, metrics_registry=registry, coordinator=url
        ) as provider,
    ):
        alone = provider.fetch(SERIES, "2024-01-01", "2024-01-02")
        assert alone.frame.height == 1440
        assert "does not answer" in (alone.receipt.uncoordinated or "")
        assert alone.receipt.to_json()["uncoordinated"] == alone.receipt.uncoordinated
        assert "uncoordinated" in repr(alone.receipt)
        counted = registry.get_sample_value("seamless_uncoordinated_claims_total", {"node_id": SERIES})
        assert counted == 1
        told = [record for record in caplog.records if record.message.startswith("backfill.uncoordinated")]
        assert [record.levelname for record in told] == ["WARNING"]
        serve(etcd, "--port", port)
        deadline = time.monotonic() + 60
        for day in range(2, 30):
            found = provider.fetch(SERIES, f"2024-01-{day:02}", f"2024-01-{day + 1:02}")
            if found.receipt.uncoordinated is None:
                break
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert any(record.message.startswith("backfill.coordinated") for record in caplog.records)
        shown = httpx.get(f"{url}/v1/leases", timeout=60).json()["leases"]
        assert [one["state"] for one in shown] == ["completed"]
