"""Jobs and workers as people run them: the command, etcd, PostgreSQL and a simulated exchange."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from rich.console import Console

import qmtl
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.interfaces.cli.jobs import _jobs_table
from qmtl.interfaces.cli.worker import _PATTERN
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.sdk.store_copy import copy_store
from qmtl.runtime.testing import SimulatedExchange
from qmtl.runtime.testing.exchange.server import KLINES
from qmtl.runtime.testing.polygon import SimulatedPolygon
from qmtl.runtime.testing.vendors import ScriptedVendor
from tests.qmtl.etcd import EtcdCluster
from tests.qmtl.ports import free_port
from tests.qmtl.served_process import QMTL, ServedProcess
from tests.qmtl.services.coordinator.conftest import CoordinatorProcess, forget_all

START, END = "2024-01-01", "2024-02-01"
BARS = 31 * 1440
SERIES = "ohlcv:binance:BTC/USDT:1m"


class Fleet:
    """A coordinator, a store and an exchange, and any number of commands and workers on them.

    exchange_answers: cleared, the exchange lets all requests wait.
    """

    def __init__(
        self,
        folder: Path,
        coordinator: CoordinatorProcess,
        store: str,
        exchange: SimulatedExchange,
        exchange_answers: threading.Event,
    ) -> None:
        self.exchange_answers = exchange_answers
        self.folder = folder
        self.coordinator = coordinator
        self.store = store
        self.exchange = exchange
        self.workers: list[ServedProcess] = []
        settings = {
            "store": store,
            "coordinator_url": coordinator.url,
            "vendors": [
                {
                    "match": "ohlcv:binance:*",
                    "kind": "ccxt",
                    "exchange": "binance",
                    "urls": exchange.url,
                }
            ],
        }
        (folder / "qmtl.yml").write_text(json.dumps({"seamless": settings}))

    def run(self, *words: object) -> Any:
        """What the command answers to machines."""
        command = [QMTL, "--config", self.folder / "qmtl.yml", "--json", *words]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def worker(self, *options: object, of: Sequence[object] = ()) -> ServedProcess:
        """of: options of all commands."""
        log = self.folder / f"worker-{len(self.workers)}.log"
        command = ("--config", self.folder / "qmtl.yml", "-v", *of, "worker", *options)
        self.workers.append(ServedProcess(log, *command))
        return self.workers[-1]

    def stop_exchange(self, after: int) -> None:
        """Once it has had so many requests, so that whoever asks it is in the midst of a shard."""
        deadline = time.monotonic() + 60
        while self.exchange.count() < after:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.exchange_answers.clear()

    def job(self, job: str) -> Any:
        return httpx.get(f"{self.coordinator.url}/v1/jobs/{job}", timeout=60).json()

    def ended(self, job: str, seconds: float = 300.0) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := self.job(job))["ended"]:
            assert time.monotonic() < deadline, (found, *(one.reported()[-3_000:] for one in self.workers))
            time.sleep(0.2)
        return found

    def present(self) -> int:
        with qmtl.SeamlessDataProvider(
            self.store, {}, coordinator=self.coordinator.url, metrics_registry=CollectorRegistry()
        ) as provider:
            return provider.coverage(SERIES, START, END).counts["present"]

    def asked_minutes(self) -> Counter[int]:
        """How often each minute was asked for and answered."""
        counted: Counter[int] = Counter()
        for request in self.exchange.requests:
            if request.path != KLINES or request.status != 200:
                continue
            first = int(request.parameters["startTime"]) // 60_000
            behind = first + int(request.parameters.get("limit", 500))
            counted.update(range(max(first, to_ns(START) // MINUTE), min(behind, to_ns(END) // MINUTE)))
        return counted


@pytest.fixture
def fleet(
    serve: Callable[..., CoordinatorProcess],
    etcd: EtcdCluster,
    postgres_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Fleet]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("QMTL_SEAMLESS_COORDINATOR_URL", raising=False)
    forget_all(etcd)
    coordinator = serve(etcd)
    answers = threading.Event()
    answers.set()
    with SimulatedExchange(on_request=lambda _: answers.wait(60)) as exchange:
        made = Fleet(tmp_path, coordinator, postgres_url, exchange, answers)
        yield made
        answers.set()
        for worker in made.workers:
            if worker.process.stdout and not worker.process.stdout.closed:
                worker.end()
    coordinator.end()


WORLD = """\
world:
  id: majors
  data:
    definitions:
      - {preset: desk.hours, series: "ohlcv:binance:{symbol}:1h", calendar: 24x7}
    presets:
      - id: majors
        preset: desk.hours
        universe: {symbols: [BTC/USDT, ETH/USDT]}
        window: {min_history: 30d}
"""


def test_a_world_is_applied_by_workers(fleet: Fleet) -> None:
    path = fleet.folder / "world.yml"
    path.write_text(WORLD)
    queued = fleet.run("world", "apply", path, "--detach")
    assert queued["shards"] in (2, 4), "a month of hours lies in one shard, or across the border of two"
    worker = fleet.worker()
    ended = fleet.ended(queued["job"])
    assert (ended["ended"], ended["done"], ended["violated"]) == ("completed", queued["shards"], [])
    plan = fleet.run("world", "plan", path)
    # An hour may have closed since.
    assert sum(preset["to_fetch"] for preset in plan["presets"]) <= 2
    rest = fleet.run("world", "apply", path, "--detach")
    assert rest is None or rest["shards"] <= 2
    assert worker.end() == 0


def test_two_workers_fill_a_job_and_ask_for_each_bar_once(fleet: Fleet) -> None:
    queued = fleet.run("backfill", SERIES, START, END, "--detach")
    assert (queued["shards"], queued["queued"], fleet.present()) == (5, 5, 0)
    port = free_port()
    workers = [fleet.worker("--slots", 1), fleet.worker("--slots", 1, "--metrics-port", port)]
    ended = fleet.ended(queued["job"])
    assert (ended["ended"], ended["done"], ended["violated"]) == ("completed", 5, [])
    assert fleet.present() == BARS
    asked = fleet.asked_minutes()
    assert len(asked) == BARS
    # Pages may overlap by one bar, which proves that nothing lies between; nothing is asked by both.
    assert sum(count - 1 for count in asked.values()) < BARS * 0.05
    metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text
    assert "worker_shards_total" in metrics
    assert "seamless_rows_committed_total" in metrics
    (shown,) = [one for one in fleet.run("jobs") if one["job"] == queued["job"]]
    assert shown["done"] == 5
    assert {one["state"] for one in fleet.run("leases")} == {"completed"}
    for worker in workers:
        assert "Traceback" not in worker.reported()
        assert worker.end() == 0


def test_a_worker_on_a_copy_of_the_store_leaves_its_jobs_alone(
    fleet: Fleet, new_schema: Callable[[], str]
) -> None:
    fleet.present()  # makes the store
    copy = new_schema()
    copy_store(fleet.store, copy)
    queued = fleet.run("backfill", SERIES, START, END, "--detach")
    on_copy = fleet.worker(of=("--store", copy))
    on_store = fleet.worker("--slots", 1)
    assert fleet.ended(queued["job"])["done"] == 5
    assert fleet.present() == BARS
    assert (on_copy.end(), on_store.end()) == (0, 0)
    with PostgresStore(copy) as store:
        assert store.newest().tx == 0


def test_what_a_killed_worker_was_at_another_completes(fleet: Fleet) -> None:
    queued = fleet.run("backfill", SERIES, START, END, "--detach")
    killed = fleet.worker("--slots", 1)
    fleet.stop_exchange(after=3)
    killed.end(signal.SIGKILL)
    fleet.exchange_answers.set()
    stored = fleet.present()
    answered = sum(fleet.asked_minutes().values())
    fleet.worker("--slots", 1)
    ended = fleet.ended(queued["job"])
    assert (ended["ended"], ended["done"], ended["violations"]) == ("completed", 5, 0)
    assert fleet.present() == BARS
    again = sum(fleet.asked_minutes().values()) - BARS
    assert again <= answered - stored + BARS * 0.05, "only what was not committed is asked for again"
    assert "job.expired" in fleet.coordinator.reported()


def test_what_a_killed_worker_had_stored_to_the_last_bar_is_completed(fleet: Fleet) -> None:
    day = ("2024-01-01", "2024-01-02")
    queued = fleet.run("backfill", SERIES, *day, "--detach")
    with httpx.Client(base_url=fleet.coordinator.url, timeout=60) as http:
        # A worker that dies between its last commit and its completion.
        who = {"worker": "killed", "store": queued["store"], "ttl_s": 2}
        taken = http.post("/v1/jobs/take", json={**who, "take_id": "t"}).json()["taken"]
        key = {"series": SERIES, "shard": int(taken["lease_key"].rpartition("/")[2]), "cells": [day]}
        claimed = http.post("/v1/leases/claim", json={**who, "keys": [key]}).json()
        assert [one["state"] for one in claimed["answers"]] == ["granted"]
        with qmtl.SeamlessDataProvider(
            fleet.store, ScriptedVendor(), metrics_registry=CollectorRegistry()
        ) as stored:
            stored.backfill(SERIES, *day)
        fleet.worker("--slots", 1)
        assert fleet.ended(queued["job"])["done"] == 1
        (lease,) = http.get("/v1/leases").json()["leases"]
    assert (lease["state"], lease["lease_key"]) == ("completed", taken["lease_key"])
    assert fleet.exchange.count() == 0, "nothing was missing"


def test_a_worker_that_is_asked_to_leave_ends_what_it_is_at(fleet: Fleet) -> None:
    queued = fleet.run("backfill", SERIES, START, END, "--detach")
    leaving = fleet.worker("--slots", 1)
    fleet.stop_exchange(after=3)
    leaving.process.send_signal(signal.SIGTERM)
    fleet.exchange_answers.set()
    assert leaving.process.wait(120) == 0
    left = fleet.job(queued["job"])
    assert (left["claimed"], left["violations"]) == (0, 0)
    assert left["done"] + left["queued"] == 5
    assert left["queued"] > 0, "it took nothing more"
    assert "job.expired" not in fleet.coordinator.reported()
    assert "job.failed" not in fleet.coordinator.reported()


def test_a_poisoned_series_becomes_a_violation_and_stops_nobody(fleet: Fleet) -> None:
    poisoned = "ohlcv:binance:NOT/THERE:1m"
    queued = fleet.run("backfill", poisoned, SERIES, "2024-01-01", "2024-01-02", "--detach")
    assert queued["shards"] == 2
    fleet.worker("--slots", 1)
    ended = fleet.ended(queued["job"])
    assert (ended["ended"], ended["done"], ended["violations"]) == ("completed", 1, 1)
    (violation,) = ended["violated"]
    assert poisoned in violation["lease_key"]
    assert "has no symbol 'NOT/THERE'" in violation["why"]
    (shown,) = fleet.run("jobs")
    assert shown["violated"] == ended["violated"]
    steps = fleet.run("leases", "--history", "2024-01-01")
    of_the_other = [one["event"] for one in steps if SERIES in (one["lease_key"] or "")]
    assert of_the_other == ["job.taken", "granted", "completed", "job.done"]
    assert {one["job"] for one in steps if one["event"].startswith("job.")} == {queued["job"]}
    assert [one["event"] for one in steps if one["lease_key"] is None] == ["job.queued", "job.completed"]
    (given_up,) = [one for one in steps if one["event"] == "job.violation"]
    assert (given_up["attempts"], given_up["why"]) == (5, violation["why"])
    table = subprocess.run(
        [*map(str, (QMTL, "--config", fleet.folder / "qmtl.yml", "leases", "--history", "2024-01-01"))],
        capture_output=True, text=True, check=True, timeout=300,
    ).stdout  # fmt: skip
    assert f"job {queued['job']}" in table


def test_a_worker_without_a_store_says_so(
    fleet: Fleet, new_schema: Callable[[], str], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for folder in ("nostore", "empty"):
        command = [QMTL, "--config", fleet.folder / "qmtl.yml", "--store", tmp_path / folder, "worker"]
        refused = subprocess.run(
            [*map(str, command)], capture_output=True, text=True, check=False, timeout=300
        )
        assert refused.returncode == 7
        assert "there is no store yet" in refused.stderr
    assert [one.name for one in tmp_path.iterdir() if one.name in ("nostore", "empty")] == ["empty"]
    assert not list((tmp_path / "empty").iterdir())
    address = new_schema()
    for is_new in (True, False):
        worker = fleet.worker(of=("--store", address))
        assert ("and now there is one" in worker.reported()) == is_new
        assert worker.end() == 0


def test_what_workers_are_at_when_a_job_is_cancelled_counts(fleet: Fleet) -> None:
    queued = fleet.run("backfill", SERIES, START, END, "--detach")
    worker = fleet.worker("--slots", 1)
    fleet.stop_exchange(after=1)
    assert fleet.job(queued["job"])["claimed"] == 1
    cancelled = fleet.run("jobs", "--cancel", queued["job"])
    assert cancelled["ended"] == "cancelled"
    fleet.exchange_answers.set()
    deadline = time.monotonic() + 60
    while (ended := fleet.job(queued["job"]))["claimed"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert ended["queued"] == 5 - ended["done"]
    assert worker.end() == 0
    log = (fleet.folder / "worker-0.log").read_text()
    assert log.count("worker.done") == ended["done"]
    assert "worker.unheard" not in log


def test_jobs_that_wait_for_their_vendor_say_so() -> None:
    counts = {"shards": 3, "queued": 3, "claimed": 0, "done": 0, "violations": 0, "violated": []}
    job = {"job": "j", "by": "b", "ended": None, "away": None, **counts}
    away = {"shards": 2, "until": "2024-01-01T00:05:00Z", "why": "binance cannot be read"}
    console = Console(width=200)
    with console.capture() as nothing:
        console.print(*_jobs_table([job]))
    with console.capture() as shown:
        console.print(*_jobs_table([job, {**job, "away": away}]))
    assert "source" not in nothing.get()
    assert "shards without their source" in shown.get()
    for text in ("2024-01-01T00:05:00", "binance cannot be read"):
        assert text in shown.get()


@pytest.mark.parametrize("venues", ["binance*", "[a-c]in?nce", "[!k]*", "b.i_n-1"])
def test_patterns_of_venues(venues: str) -> None:
    assert _PATTERN.fullmatch(venues)


def test_jobs_are_watched_until_somebody_has_seen_enough(fleet: Fleet) -> None:
    queued = fleet.run("backfill", SERIES, START, END, "--detach")
    command = [*map(str, (QMTL, "--config", fleet.folder / "qmtl.yml", "jobs", "--watch"))]
    shown, at = pty.openpty()
    with subprocess.Popen(command, stdin=at, stdout=at, stderr=at) as watching:
        os.close(at)
        text = b""
        while text.count(queued["job"].encode()) < 2:
            text += os.read(shown, 65_536)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(60) == 0
    os.close(shown)
    assert b"interrupted" not in text
    assert fleet.run("jobs", "--cancel", queued["job"])["ended"] == "cancelled"


def test_an_idle_worker_asks_once_a_second_at_most(fleet: Fleet) -> None:
    worker = fleet.worker()

    def takes() -> float:
        text = httpx.get(f"{fleet.coordinator.url}/metrics", timeout=60).text
        found = re.findall(r'service_requests_total\{[^}]*route="/v1/[^}]*\} (\S+)', text)
        return sum(map(float, found))

    deadline = time.monotonic() + 60
    while not (before := takes()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    began = time.monotonic()
    time.sleep(6)
    passed = time.monotonic() - began
    assert takes() - before <= passed + 1
    assert worker.end() == 0


def test_two_workers_of_two_machines_keep_to_one_budget(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The venue allows two requests a second; each worker has its own file, as on a machine of its own."""
    series, per_second = "ohlcv:polygon:AAPL:1m", 2.0
    with SimulatedPolygon(page_rows=1_000) as venue:
        settings = json.loads((fleet.folder / "qmtl.yml").read_text())
        settings["seamless"]["vendors"] = [
            {"match": "ohlcv:polygon:*", "kind": "polygon", "url": venue.url, "per_minute": 60 * per_second}
        ]
        (fleet.folder / "qmtl.yml").write_text(json.dumps(settings))
        monkeypatch.setenv("POLYGON_API_KEY", venue.key)
        queued = fleet.run("backfill", series, "2024-01-01", "2024-03-01", "--detach")
        arrived: list[float] = []
        is_over = threading.Event()

        def watch() -> None:
            while not is_over.wait(0.01):
                arrived.extend([time.monotonic()] * (len(venue.calls) - len(arrived)))

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            for number in range(2):
                monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / f"machine-{number}"))
                fleet.worker("--slots", 2)
            assert fleet.ended(queued["job"])["violations"] == 0
        finally:
            is_over.set()
            watching.join()
    assert len(arrived) >= 16
    text = httpx.get(f"{fleet.coordinator.url}/metrics", timeout=60).text
    assert 'route="/v1/rates/take"' in text
    # Not to the last request: who is answered late spends from a share of its own. Two budgets take half.
    assert arrived[-1] - arrived[0] >= 0.8 * (len(arrived) - 1) / per_second - 1.0
    # A second's requests may arrive together where this machine is busy.
    for begin in arrived:
        assert sum(begin <= at <= begin + 5.0 for at in arrived) <= 1 + 5.0 * per_second + per_second
