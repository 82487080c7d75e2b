"""Workers of an engine are killed in the middle of a universe: same report, and no stored bar asked again.

Ray is large, and not in the environment of this repository: `make ray`, a part of `make soak`, makes one of
its own, and runs `.venv-ray/bin/python -m pytest tests/qmtl/stories/test_universes.py -k ray` there.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import psutil
import pytest

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.runtime.coordination.engine_runs import process_pool
from qmtl.runtime.io.rates import RateBudget
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.io.vendors.ccxt import CcxtVendor
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.exchange import Request, SimulatedExchange
from qmtl.runtime.testing.vendors import ScriptedVendor
from tests.qmtl.ports import free_port

SYMBOLS = [f"S{number}/USDT" for number in range(16)]
NAMES = [f"ohlcv:binance:{symbol}:1m" for symbol in SYMBOLS]
SPAN = Span(to_ns("2024-01-01"), to_ns("2024-01-02T06:00Z"))  # two pages for each series
PATIENCE_S = 120.0

Kill = Callable[[], bool]


class Watch:
    """Looks at each request before it is answered: was a bar of it stored already? Kills at some of them."""

    def __init__(self) -> None:
        self.store: Any = None
        self.asked_again: list[Coverage] = []
        self.requests = 0
        self.kills_at: set[int] = set()
        self.kill: Kill = lambda: False
        self.killed = 0
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> None:
        if not request.path.endswith("klines"):
            return
        with self._lock:
            self.requests += 1
            symbol = request.parameters["symbol"].removesuffix("USDT") + "/USDT"
            series = SeriesId.parse(f"ohlcv:binance:{symbol}:1m")
            # A request begins at the last bar that is known, which proves that nothing is missing between.
            first = int(request.parameters["startTime"]) * 1_000_000 + MINUTE
            last = first + (int(request.parameters["limit"]) - 1) * MINUTE
            wanted = Coverage.of(Span(first, max(first, last))).clip(SPAN)
            if wanted and self.store is not None:
                present = self.store.coverage(series, *SPAN).present
                if again := present & wanted:
                    self.asked_again.append(again)
            if self.requests in self.kills_at:
                self.killed += self.kill()


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def vendor(watch: Watch, tmp_path: Path) -> Iterator[CcxtVendor]:
    with SimulatedExchange(SYMBOLS, on_request=watch) as exchange:
        budget = RateBudget("simulated", per_second=10_000, path=tmp_path / "rates.sqlite")
        yield CcxtVendor("binance", urls=exchange.url, budget=budget)


# -- engines, and how one of their workers is killed


def kill_one(pids: Callable[[], list[int]]) -> bool:
    for pid in pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def working(of: int, words: str) -> list[int]:
    """Processes below another whose command line holds these words."""
    found = []
    for child in psutil.Process(of).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if words in " ".join(child.cmdline()):
                found.append(child.pid)
    return found


@contextlib.contextmanager
def processes(folder: Path) -> Iterator[tuple[Executor, Kill]]:
    with process_pool(2) as pool:
        yield pool, lambda: kill_one(lambda: working(os.getpid(), "spawn_main"))


@contextlib.contextmanager
def dask(folder: Path) -> Iterator[tuple[Executor, Kill]]:
    pytest.importorskip("distributed", reason="pip install 'qmtl[dask]'")
    with dask_cluster(folder) as (address, workers):
        from distributed import Client

        with Client(address, timeout=PATIENCE_S, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=PATIENCE_S)
            yield client.get_executor(), lambda: kill_one(lambda: working(workers, "spawn_main"))


@contextlib.contextmanager
def dask_cluster(folder: Path) -> Iterator[tuple[str, int]]:
    """The address of a scheduler, and the process above two workers, each with a nanny."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "dask"]
    commands = [
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"],
        [*dask, "worker", address, "--nworkers", "2", "--nthreads", "1", "--no-dashboard"],
    ]
    with (folder / "dask.log").open("wb") as log:
        started = [subprocess.Popen(one, cwd=folder, stdout=log, stderr=log) for one in commands]
        try:
            yield address, started[1].pid
        finally:
            for one in reversed(started):
                below = psutil.Process(one.pid).children(recursive=True) if one.poll() is None else []
                one.kill()
                for process in below:
                    with contextlib.suppress(psutil.Error):
                        process.kill()
                one.wait()


@contextlib.contextmanager
def ray(folder: Path) -> Iterator[tuple[Executor, Kill]]:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray has an environment of its own: make ray")
    from qmtl.runtime.coordination.ray_executor import RayExecutor, needed_ray

    library = needed_ray()
    library.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        with RayExecutor() as executor:
            yield executor, lambda: kill_one(lambda: ray_workers())
    finally:
        library.shutdown()


def ray_workers() -> list[int]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if "ray::_called" in " ".join(process.cmdline()):
                found.append(process.pid)
    return found


ENGINES = [processes, dask, ray]


@pytest.mark.process
@pytest.mark.service
@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.__name__)
def test_killed_workers_change_no_report_and_ask_for_no_stored_bar(
    engine: Any, vendor: CcxtVendor, watch: Watch, tmp_path: Path
) -> None:
    with SeamlessDataProvider(tmp_path / "calm", vendors={"*": vendor}) as provider:
        calm = provider.backfill_many(NAMES, *SPAN)
    assert calm.passes
    assert calm.states["present"] == len(NAMES) * SPAN.length // MINUTE
    asked = watch.requests

    with (
        SeamlessDataProvider(tmp_path / "bars", vendors={"*": vendor}) as provider,
        engine(tmp_path) as (executor, kill),
    ):
        watch.store, watch.kill = provider, kill
        watch.kills_at = {asked + 8}
        report = provider.backfill_many(iter(NAMES), *SPAN, executor)
        watch.kills_at = set()
        again = provider.revalidate(NAMES, *SPAN, executor)
    assert watch.killed == 1
    assert report == calm
    assert again.series == calm.series
    assert watch.asked_again == []


class Deadly(ScriptedVendor):
    """Whoever asks it for a series of this venue is killed."""

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        if series.venue == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        async for page in super().pages(series, span):
            yield page


@pytest.mark.process
def test_series_that_were_lost_with_their_workers_miss_what_nobody_has_read(tmp_path: Path) -> None:
    good, deadly = "ohlcv:venue:X:1h", "ohlcv:deadly:Y:1h"
    span = Span(to_ns("2024-01-04"), to_ns("2024-01-10"))  # over a weekend
    calendars = {"ohlcv:deadly:*": "XNYS"}
    with SeamlessDataProvider(tmp_path / "empty", calendars=calendars) as provider:
        empty = provider.revalidate([good, deadly], *span)
    with (
        SeamlessDataProvider(tmp_path / "bars", vendors=Deadly(), calendars=calendars) as provider,
        process_pool(1) as pool,
    ):
        report = provider.backfill_many([good, deadly], *span, pool)
    assert [failure.kind for failure in report.failures[deadly]] == ["WorkerLost"]
    assert report[good].states == {"present": 144}
    assert report[deadly].states == empty[deadly].states
    assert report.missing == empty[deadly].missing == 28, "hours of four sessions"


@pytest.mark.process
@pytest.mark.service
def test_the_command_works_on_dask(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="pip install 'qmtl[dask]'")
    (tmp_path / "qmtl.yml").write_text(
        "seamless:\n  store: bars\n  vendors:\n"
        "  - {match: '*', kind: python, object: 'qmtl.runtime.testing:ScriptedVendor'}\n",
        encoding="utf-8",
    )
    (tmp_path / "work").mkdir()
    with dask_cluster(tmp_path / "work") as (address, _):
        on = ["--on", address.replace("tcp", "dask")]
        for command, series in (("backfill", NAMES[:4]), ("revalidate", ["ohlcv:binance:*"])):
            words = ["--json", command, *series, "2024-01-01", "2024-01-02", *on]
            done = subprocess.run(
                [str(Path(sys.executable).with_name("qmtl")), *words],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert '"passes": true' in done.stdout
            assert '"present": 5760' in done.stdout
