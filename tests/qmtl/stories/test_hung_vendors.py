"""Vendors whose threads hang: budgets end, the store answers, others are asked, and closing does not wait."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from polars.testing import assert_frame_equal

import qmtl
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import HOUR, to_ns
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.sdk import loop_thread
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import ScriptedVendor

Make = Callable[..., SeamlessDataProvider]

STORED, HUNG, OTHER = "ohlcv:good:A:1m", "ohlcv:hung:A:1m", "ohlcv:good:B:1m"
SPAN = Span(to_ns("2024-01-01"), to_ns("2024-01-01T04:00Z"))

# More than any pool that a loop has by default.
MANY = 40

# A guard, not a measure: what does not hang takes a fraction of it.
PATIENCE_S = 120.0


class Hung:
    """Asks with a blocking call in a thread, which never comes back."""

    name = "hung"

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.let_go = threading.Event()

    def block(self) -> None:
        self.asked.release()
        self.let_go.wait()

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        await asyncio.to_thread(self.block)
        yield Page(ScriptedVendor().bars(series, span), span)


@pytest.fixture
def hung() -> Iterator[Hung]:
    vendor = Hung()
    yield vendor
    vendor.let_go.set()


@pytest.fixture
def within() -> Iterator[Callable[..., Any]]:
    """The result of a call that would hang for ever if it were wrong."""
    threads = ThreadPoolExecutor(MANY)

    def call(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        return threads.submit(function, *args, **options).result(PATIENCE_S)

    yield call
    threads.shutdown(wait=False)


def hang(provider: SeamlessDataProvider, vendor: Hung) -> None:
    """`MANY` threads that hang, and callers that have left."""

    async def leave(number: int) -> None:
        call = asyncio.ensure_future(provider.fetch_async(HUNG, SPAN.start + number * HOUR, SPAN.end))
        assert await asyncio.to_thread(vendor.asked.acquire, timeout=PATIENCE_S)
        call.cancel()
        await asyncio.wait({call})

    for number in range(MANY):
        asyncio.run(leave(-number))


def test_many_hung_threads_hold_up_neither_the_store_nor_other_vendors(
    make: Make, hung: Hung, within: Callable[..., Any]
) -> None:
    good = ScriptedVendor()
    provider = make({"ohlcv:hung:*": hung, "*": good}, cache_bytes=0)
    provider.fetch(STORED, *SPAN)
    hang(provider, hung)
    stored = within(provider.fetch, STORED, *SPAN)
    assert_frame_equal(stored.frame, good.bars(STORED, SPAN))
    assert within(provider.fetch, OTHER, *SPAN).frame.height == 240
    assert within(lambda: asyncio.run(provider.fetch_async(STORED, *SPAN))).frame.height == 240
    assert len(within(provider.fetch_many, [STORED, OTHER], *SPAN).frame) == 480
    within(provider.close)


def test_files_are_read_beside_hung_threads(
    make: Make, hung: Hung, within: Callable[..., Any], tmp_path: Path
) -> None:
    ScriptedVendor().bars(OTHER, SPAN).write_csv(tmp_path / "B.csv", datetime_format="%Y-%m-%dT%H:%M:%SZ")
    files = qmtl.FilesVendor(str(tmp_path / "{symbol}.csv"))
    provider = make({"ohlcv:hung:*": hung, "*": files})
    hang(provider, hung)
    assert within(provider.fetch, OTHER, *SPAN).frame.height == 240


def test_a_budget_breaks_a_hung_thread_off(make: Make, hung: Hung, clock: FakeClock) -> None:
    provider = make({"ohlcv:hung:*": hung, "*": ScriptedVendor()})

    def pass_time() -> None:
        hung.asked.acquire()
        clock.advance(6.0)

    passing = threading.Thread(target=pass_time)
    passing.start()
    with pytest.raises(qmtl.SeamlessSLAExceeded) as caught:
        provider.fetch(HUNG, *SPAN, sla=qmtl.SLAPolicy(backfill_wait=5.0))
    passing.join()
    assert caught.value.phase == "backfill_wait"
    assert list((provider.store.path / "claims").iterdir()) == [], "its shards are free"
    hung.let_go.set()
    assert provider.fetch(HUNG, *SPAN).frame.height == 240


def test_closing_ends_a_fetch_whose_vendor_hangs(make: Make, hung: Hung, within: Callable[..., Any]) -> None:
    provider = make(hung)
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(provider.fetch, HUNG, *SPAN)
        hung.asked.acquire()
        within(provider.close)
        with pytest.raises(qmtl.InvalidRequestError, match="closed"):
            call.result(PATIENCE_S)


@pytest.mark.parametrize("asks", [True, False], ids=["after a fetch", "never asked"])
def test_a_source_that_hangs_when_it_is_closed_is_left(
    make: Make, within: Callable[..., Any], asks: bool, caplog: pytest.LogCaptureFixture
) -> None:
    class Endless(ScriptedVendor):
        name = "endless"

        async def aclose(self) -> None:
            await asyncio.get_running_loop().create_future()

    provider = make(Endless())
    if asks:
        provider.fetch(OTHER, *SPAN)
    within(provider.close)
    (event,) = [r for r in caplog.records if r.getMessage().startswith("backfill.close_failed")]
    assert event.source == "endless"


def test_a_vendor_that_blocks_the_loop_itself_is_left_behind(
    make: Make, hung: Hung, within: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blocks(Hung):
        async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
            hung.block()
            yield Page(ScriptedVendor().bars(series, span), span)

    monkeypatch.setattr(loop_thread, "CLOSED_WITHIN_S", 0.2)
    provider = make(Blocks())
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(provider.fetch, HUNG, *SPAN)
        hung.asked.acquire()
        within(provider.close)
        hung.let_go.set()
        with pytest.raises(qmtl.QmtlError):
            call.result(PATIENCE_S)


def test_a_thread_that_raises_the_end_of_an_iteration_is_a_failure(
    make: Make, within: Callable[..., Any]
) -> None:
    class Ends(ScriptedVendor):
        async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
            await asyncio.to_thread(next, iter(()))
            yield Page(self.bars(series, span), span)

    with pytest.raises(qmtl.SourceUnavailableError, match="StopIteration"):
        within(make(Ends()).fetch, OTHER, *SPAN)


PROGRAM = """
import asyncio, sys, threading, time
import qmtl

class Hung:
    async def pages(self, series, span):
        await asyncio.to_thread(threading.Event().wait)
        yield

with qmtl.SeamlessDataProvider(sys.argv[1], vendors=Hung()) as provider:
    try:
        provider.fetch("ohlcv:hung:A:1m", "2024-01-01", "2024-01-02", sla=qmtl.SLAPolicy(backfill_wait=0.05))
    except qmtl.SeamlessSLAExceeded as error:
        print(error.phase)
        print(time.time(), flush=True)
"""


def test_a_program_ends_although_a_thread_hangs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, timeout=PATIENCE_S
    )
    ended = time.time()
    assert done.returncode == 0, done.stderr
    phase, spent = done.stdout.split()
    assert phase == "backfill_wait"
    assert ended - float(spent) < 30


ABANDONED = """
import asyncio, sys
import aiohttp  # here, for it takes longer than the budget below
import qmtl
from qmtl.runtime.io.rates import RateBudget
from qmtl.runtime.io.vendors.ccxt import CcxtVendor
from qmtl.runtime.testing import SimulatedExchange
from qmtl.runtime.testing.exchange import NoAnswer

class Web:
    name = "web"

    async def pages(self, series, span):
        while True:
            try:
                async with aiohttp.ClientSession() as session:
                    await session.get(exchange.url + "/api/v3/klines?symbol=BTCUSDT&interval=1m")
            except asyncio.CancelledError:
                pass
        yield

class Deaf:
    name = "deaf"

    def __init__(self, vendor):
        self.vendor = vendor

    async def pages(self, series, span):
        pages = self.vendor.pages(series, span)
        while True:
            page = asyncio.ensure_future(anext(pages))
            while not page.done():
                try:
                    await asyncio.shield(page)
                except asyncio.CancelledError:
                    pass
            yield page.result()

folder, kind = sys.argv[1:]
with SimulatedExchange() as exchange:
    exchange.fail(NoAnswer(), times=99)
    budget = RateBudget("sim", per_second=1e6, path=folder + "/rates.sqlite")
    vendor = Web() if kind == "web" else Deaf(CcxtVendor("binance", urls=exchange.url, budget=budget))
    with qmtl.SeamlessDataProvider(folder + "/bars", vendors=vendor) as provider:
        provider.coverage("ohlcv:binance:BTC/USDT:1m", "2024-01-01", "2024-01-02")  # what it loads takes long
        try:
            policy = qmtl.SLAPolicy(backfill_wait=5.0)
            provider.fetch("ohlcv:binance:BTC/USDT:1m", "2024-01-01", "2024-01-02", sla=policy)
        except qmtl.SeamlessSLAExceeded as error:
            print(error.ledger["abandoned"], "left behind" in str(error))
print("closed")
"""


@pytest.mark.parametrize("kind", ["web", "deaf"])
def test_closing_says_nothing_of_a_vendor_that_was_abandoned(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("ccxt", reason="needs qmtl[ccxt]")
    pytest.importorskip("aiohttp", reason="needs qmtl[testing]")
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", ABANDONED, str(tmp_path), kind],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.stdout, done.returncode) == (f"('{kind}',) True\nclosed\n", 0)
    assert done.stderr == ""
