"""The worker of the demo that is killed: it fetches a range slowly, and says on stdout how far it is."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from qmtl.runtime.coordination.distributed import DistributedBackfillCoordinator
from qmtl.runtime.ingest.backfill_result import Progress
from qmtl.runtime.io.rates import RateBudget
from qmtl.runtime.io.vendors.ccxt import CcxtVendor
from qmtl.runtime.sdk.provider import SeamlessDataProvider

# Seconds after which others may have its shards, once it is not heard of any more.
TTL_S = 8


def main(store: str, exchange: str, coordinator: str, series: str, start: str, end: str) -> None:
    """start, end: ns."""
    import_module("ccxt.async_support")  # it takes seconds, in which a busy machine may lose its leases
    budget = RateBudget("slow", per_second=10, burst=1, path=Path(store).with_name("slow.sqlite"))
    vendor = CcxtVendor("binance", urls=exchange, budget=budget)
    leases = DistributedBackfillCoordinator(coordinator, ttl_s=TTL_S)
    with SeamlessDataProvider(store, {series: vendor}, coordinator=leases, progress=False) as provider:
        provider.fetch(series, int(start), int(end), on_progress=_say)


def _say(progress: Progress) -> None:
    sys.stdout.write(f"{progress.done}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
