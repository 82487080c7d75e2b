"""A worker in a process of its own: fetches a range slowly, and says each time that something is stored.

python fleet_child.py STORE COORDINATOR START END
"""

from __future__ import annotations

import sys

import qmtl
from qmtl.runtime.ingest.backfill_result import Progress
from qmtl.runtime.testing.vendors import ScriptedVendor

SERIES = "ohlcv:test:BTC/USDT:1m"
TTL_S = 8


def main(store: str, url: str, start: str, end: str) -> None:
    coordinator = qmtl.DistributedBackfillCoordinator(url, ttl_s=TTL_S)
    vendor = ScriptedVendor(page_rows=100, delay=0.5)
    with qmtl.SeamlessDataProvider(store, vendor, coordinator=coordinator, progress=False) as provider:
        provider.fetch(SERIES, start, end, on_progress=shown)


def shown(progress: Progress) -> None:
    sys.stdout.write(f"{progress.done}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
