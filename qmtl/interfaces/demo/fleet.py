"""Act six: a coordinator, and two workers of which one is killed in the middle of its backfill."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from qmtl.foundation.errors import QmtlError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import iso, to_ns
from qmtl.interfaces.cli.progress import Bars
from qmtl.interfaces.demo import fleet_worker
from qmtl.interfaces.demo.stage import Stage
from qmtl.runtime.coordination.shards import shard_numbers
from qmtl.runtime.io.rates import RateBudget
from qmtl.runtime.io.store.fencing import SHARD_STEPS
from qmtl.runtime.io.vendors.ccxt import CcxtVendor
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.exchange import SimulatedExchange

SERIES = "ohlcv:binance:ETH/USDT:1m"
NAME = SeriesId.parse(SERIES)
MONTHS = Span(to_ns("2023-01-01"), to_ns("2023-03-01"))


def fleet(stage: Stage, folder: Path, exchange: SimulatedExchange, budget: RateBudget) -> None:
    """Let the second worker complete what the first has begun."""
    stage.act("Act six: a fleet, of which one worker is killed")
    store = folder / "bars"
    with _coordinator(store, folder / "coordinator.log") as url:
        stage.say(f"  qmtl --store {store} serve coordinator --embedded serves {url}")
        vendor = CcxtVendor("binance", urls=exchange.url, budget=budget)
        with SeamlessDataProvider(store, {SERIES: vendor}, coordinator=url) as provider:
            _killed(stage, provider, store, exchange, url)
            missing = _completed(stage, provider, exchange)
            shards = shard_numbers(missing, SHARD_STEPS * NAME.timeframe.step)
        done = [lease for lease in _asked(f"{url}/v1/leases")["leases"] if lease["state"] == "completed"]
        stage.check(
            f"the coordinator has seen all {len(shards)} shards with missing bars completed",
            [int(lease["lease_key"].rpartition("/")[2]) for lease in done] == shards,
        )


def _killed(
    stage: Stage, provider: SeamlessDataProvider, store: Path, exchange: SimulatedExchange, url: str
) -> None:
    words = [str(store), exchange.url, url, SERIES, str(MONTHS.start), str(MONTHS.end)]
    with subprocess.Popen(
        [sys.executable, "-m", fleet_worker.__name__, *words], stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        committed = worker.stdout.readline()
        held = [lease for lease in _asked(f"{url}/v1/leases")["leases"] if lease["state"] == "held"]
        worker.kill()
    stage.say(f"  A worker had committed {int(committed or 0):,} bars, slowly. kill -9")
    holders = {lease["holder"].split(":")[1] for lease in held}
    stage.check(f"the coordinator knew it as the holder of {len(held)} shards", holders == {str(worker.pid)})
    states = provider.coverage(SERIES, MONTHS.start, MONTHS.end)
    stage.picture(states)
    stage.check("what it had committed is there", states.counts["present"] >= int(committed or 0) > 0)


def _completed(stage: Stage, provider: SeamlessDataProvider, exchange: SimulatedExchange) -> Coverage:
    """What was missing."""
    missing = provider.coverage(SERIES, MONTHS.start, MONTHS.end).unknown
    before = len(exchange.requests)
    stage.say(
        f"  Another worker wants the same two months. It waits until the first has not been heard of for "
        f"{fleet_worker.TTL_S} seconds."
    )
    with stage.timed("rest, with the wait"), Bars() as bars:
        answer = provider.fetch(SERIES, MONTHS.start, MONTHS.end, on_progress=bars.backfilled)
    sent = [one.parameters for one in exchange.requests[before:] if "startTime" in one.parameters]
    earliest = min(int(one["startTime"]) for one in sent) * 1_000_000
    stage.check(
        f"it asked for nothing that was there: {len(sent)} requests, the earliest for {iso(earliest)}",
        earliest >= missing.hull.start,
    )
    truth = exchange.bars(NAME, MONTHS)
    stage.check(
        f"all {truth.height:,} bars are present, and equal the exchange's own books",
        answer.frame.equals(truth) and answer.coverage.counts["present"] == truth.height,
    )
    stage.check("the coordinator vouched for all of it", answer.receipt.uncoordinated is None)
    return missing


@contextmanager
def _coordinator(store: Path, log: Path) -> Iterator[str]:
    """Its address, while it serves."""
    qmtl = [sys.executable, "-c", "from qmtl.interfaces.cli.main import run; run()"]
    words = ["--store", str(store), "serve", "coordinator", "--embedded", "--port", "0"]
    with (
        log.open("w") as told,
        subprocess.Popen([*qmtl, *words], stdout=subprocess.PIPE, stderr=told, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            address = re.search(r"https?://\S+", line)
            if address is None:
                raise QmtlError("the coordinator of the demo did not begin", next_step=f"read {log}")
            yield address[0]
        finally:
            process.terminate()


def _asked(url: str) -> Any:
    with urlopen(url, timeout=10) as answer:
        return json.load(answer)
