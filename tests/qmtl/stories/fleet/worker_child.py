"""A client of a fleet, in a process of its own: fetches one range after another, and writes all of it down.

python worker_child.py ORDERS, the path of `WorkerOrders` as JSON
"""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from prometheus_client import CollectorRegistry

import qmtl
from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.errors import QmtlError
from qmtl.foundation.times import MINUTE, SECOND, to_ns
from qmtl.runtime.coordination import coordinated
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.sdk.stores import opened_store
from tests.qmtl.stories.fleet.history import Fetched, HistoryFile
from tests.qmtl.stories.fleet.recorders import (
    RecordedStore,
    RecordedVendor,
    now,
    recorded_leases,
    spans_of,
)

FIRST = to_ns("2020-01-01")


@dataclass(frozen=True)
class WorkerOrders:
    """ranges: what to fetch, as series, first minute and end, counted from 2020, `at_once` at a time.

    Left out, ranges are drawn by the seed, beside those of the other workers, until the file `end` is there.
    clock: a file that says how many seconds the wall clock is off.
    """

    name: str
    store: str
    coordinator: str
    exchange: str
    history: str
    ttl_s: int
    page_rows: int
    pause_s: float
    ranges: list[tuple[str, int, int]] | None = None
    at_once: int = 1
    seed: str = ""
    end: str = ""
    clock: str = ""

    @property
    def begun(self) -> Path:
        """Which of the drawn ranges is next, for whoever takes over from a killed process."""
        return Path(self.history) / f"{self.name}.next"


class ClockOfAFile(SystemClock):
    """The wall clock as a file puts it. (libfaketime breaks `time.sleep` of Python 3.11.)"""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def now(self) -> int:
        return time.time_ns() + int(self._path.read_text()) * SECOND


def drawn(seed: str, number: int) -> tuple[str, int, int]:
    """The range that follows so many others: of all workers, those of about the same time overlap."""
    chance = random.Random(f"{seed} {number}")
    series = chance.choice(("ohlcv:exchange:BTC/USDT:1m", "ohlcv:exchange:ETH/USDT:1m"))
    first = 4_000 * number + chance.randrange(6_000)
    return series, first, first + chance.randrange(500, 9_000)


def main(path: str) -> int:
    facts = json.loads(Path(path).read_text())
    orders = WorkerOrders(**facts)
    worker = f"{orders.name}-{os.getpid()}"
    file = HistoryFile(Path(orders.history) / f"{worker}.jsonl")
    coordinated.FallbackLeases = recorded_leases(file, worker)  # type: ignore[misc,assignment]
    coordinator = qmtl.DistributedBackfillCoordinator(orders.coordinator, ttl_s=orders.ttl_s)
    clock = ClockOfAFile(orders.clock) if orders.clock else SystemClock()
    with qmtl.SeamlessDataProvider(
        RecordedStore(_opened(orders.store, clock), file, worker),  # type: ignore[arg-type]
        RecordedVendor(orders.exchange, file, worker, rows=orders.page_rows, pause_s=orders.pause_s),
        coordinator=coordinator,
        metrics_registry=CollectorRegistry(),
        progress=False,
        clock=clock,
    ) as provider:

        def fetch(wanted: tuple[str, int, int]) -> None:
            series, first, end = wanted
            start, stop = FIRST + first * MINUTE, FIRST + end * MINUTE
            while not _fetched(provider, file, Fetched(worker, now(), None, series, start, stop)):
                time.sleep(0.2)

        if orders.ranges is not None:
            with ThreadPoolExecutor(orders.at_once) as threads:
                list(threads.map(fetch, orders.ranges))
        else:
            for wanted in _next_ranges(orders):
                fetch(wanted)
    coordinator.close()
    return 0


def _next_ranges(orders: WorkerOrders) -> Iterator[tuple[str, int, int]]:
    first = int(orders.begun.read_text()) if orders.begun.exists() else 0
    for number in itertools.count(first):
        # The first may have been begun by a process that was killed: it is wanted, whatever has ended.
        if number > first and Path(orders.end).exists():
            return
        yield drawn(f"{orders.seed} {orders.name}", number)
        new = orders.begun.with_suffix(".new")
        new.write_text(str(number + 1))
        new.replace(orders.begun)


def _fetched(provider: qmtl.SeamlessDataProvider, file: HistoryFile, begun: Fetched) -> bool:
    """Whether there was an answer."""
    number = file.write(begun)
    try:
        result = provider.fetch(begun.series, begun.start, begun.end)
    except QmtlError as error:
        file.write(replace(begun, until=now(), error=f"{type(error).__name__}: {error.what}"), number)
        return False
    receipt = result.receipt
    unknown = spans_of(result.coverage.holes)
    answer = replace(
        begun, until=now(), as_of=receipt.as_of, fingerprint=receipt.fingerprint, unknown=unknown
    )
    file.write(answer, number)
    return True


def _opened(store: str, clock: Clock) -> Store:
    """The store, as soon as its server answers."""
    while True:
        try:
            return opened_store(store, clock=clock, retention=None)
        except QmtlError as error:
            sys.stderr.write(f"{error}\n")
            time.sleep(0.2)


def orders_file(orders: WorkerOrders) -> Path:
    path = Path(orders.history) / f"{orders.name}.orders"
    path.write_text(json.dumps(asdict(orders)))
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
