"""The installed command `qmtl`: what it does with leases, store and vendor is written down, as for clients.

python recorded_command.py ORDERS WORD...

Only what writes down is put before it, and a wall clock that can be set. All else is what is shipped: its
lifetimes and pauses, how it takes jobs, and what it does when it gets a signal.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

from qmtl.foundation.clock import SystemClock
from qmtl.runtime.coordination import coordinated
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.sdk import wiring
from tests.qmtl.served_process import QMTL
from tests.qmtl.stories.fleet.history import HistoryFile
from tests.qmtl.stories.fleet.recorders import RecordedStore, RecordedVendor, recorded_leases
from tests.qmtl.stories.fleet.worker_child import ClockOfAFile, WorkerOrders, orders_file


def settings_file(orders: WorkerOrders) -> Path:
    """The settings of a command that works under these orders."""
    orders_path = orders_file(orders)
    vendor = {
        "match": "ohlcv:exchange:*",
        "kind": "python",
        "object": f"{recorded_vendor.__module__}:{recorded_vendor.__name__}",
        "options": {"orders": str(orders_path)},
    }
    path = orders_path.with_suffix(".yml")
    seamless = {"store": orders.store, "coordinator_url": orders.coordinator, "vendors": [vendor]}
    path.write_text(json.dumps({"seamless": seamless}))  # which is YAML, too
    return path


def recorded_vendor(orders: str) -> RecordedVendor:
    """The exchange, as settings name it; the orders are a path."""
    given = WorkerOrders(**json.loads(Path(orders).read_text()))
    worker = f"{given.name}-{os.getpid()}"
    file = HistoryFile(Path(given.history) / f"{worker}-vendor.jsonl")
    return RecordedVendor(given.exchange, file, worker, rows=given.page_rows, pause_s=given.pause_s)


def main(path: str, *words: str) -> None:
    orders = WorkerOrders(**json.loads(Path(path).read_text()))
    worker = f"{orders.name}-{os.getpid()}"
    file = HistoryFile(Path(orders.history) / f"{worker}.jsonl")
    opened_store = wiring.opened_store

    def opened(store: Any, **options: Any) -> Store:
        return RecordedStore(opened_store(store, **options), file, worker)  # type: ignore[return-value]

    wiring.opened_store = opened  # type: ignore[assignment]
    coordinated.FallbackLeases = recorded_leases(file, worker)  # type: ignore[misc,assignment]
    clock = ClockOfAFile(orders.clock)
    SystemClock.now = lambda _: clock.now()  # type: ignore[method-assign]
    sys.argv = [str(QMTL), *words]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
