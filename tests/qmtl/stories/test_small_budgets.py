"""Whatever ends a call, a page that has come and passed is kept: so small budgets get on, too."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from polars.testing import assert_frame_equal

import qmtl
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import HOUR, to_ns
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.single_flight import ABANDON_AFTER_S
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import Change, Hang, ScriptedVendor, rows_outside, with_value

BOTH_ENGINES = True

Make = Callable[..., SeamlessDataProvider]

SERIES = "ohlcv:test:BTC/USDT:1m"
SPAN = Span(to_ns("2024-01-01"), to_ns("2024-01-01T06:00Z"))


def hours(first: int, last: int) -> Span:
    return Span(SPAN.start + first * HOUR, SPAN.start + last * HOUR)


class Slow(ScriptedVendor):
    """A page takes 0.3 s; the wait for the second one of a call may ignore its cancellation."""

    def __init__(self, *, deaf: bool) -> None:
        super().__init__(page_rows=60, delay=0.3)
        self.deaf = deaf

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        async for page in super().pages(series, span):
            yield page
            while self.deaf:
                with suppress(asyncio.CancelledError):
                    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("budget", ["backfill_wait", "total"])
@pytest.mark.parametrize("deaf", [False, True], ids=["", "deaf"])
def test_each_call_that_received_a_page_leaves_progress(
    make: Make, clock: FakeClock, budget: str, deaf: bool
) -> None:
    vendor = Slow(deaf=deaf)
    provider = make(vendor)
    policy = qmtl.SLAPolicy.from_mapping({budget: 0.35})
    for calls in range(1, 6):
        began = clock.monotonic()
        with pytest.raises(qmtl.SeamlessSLAExceeded) as breach:
            provider.fetch(SERIES, *SPAN, sla=policy)
        assert breach.value.ledger.get("abandoned") == (("Slow",) if deaf else None)
        assert clock.monotonic() - began <= 0.35 + ABANDON_AFTER_S + 1e-6, "the budget holds"
        assert provider.coverage(SERIES, *SPAN).present == Coverage.of(hours(0, calls))
    vendor.deaf = False
    assert_frame_equal(provider.fetch(SERIES, *SPAN).frame, vendor.bars(SERIES, SPAN))


def test_a_partial_answer_holds_the_page_that_came(make: Make) -> None:
    vendor = ScriptedVendor(page_rows=60, delay=0.3, faults={1: Hang()})
    policy = qmtl.SLAPolicy(backfill_wait=0.35, on_breach="partial")
    result = make(vendor).fetch(SERIES, *SPAN, sla=policy)
    assert_frame_equal(result.frame, vendor.bars(SERIES, hours(0, 1)))
    assert result.receipt.breach is not None


def test_what_came_and_is_impossible_is_kept_aside(make: Make) -> None:
    bad = with_value("close", float("nan"))
    vendor = ScriptedVendor(page_rows=60, delay=0.3, faults={0: Change(bad), 1: Hang()})
    provider = make(vendor)
    with pytest.raises(qmtl.SeamlessSLAExceeded):
        provider.fetch(SERIES, *SPAN, sla=qmtl.SLAPolicy(backfill_wait=0.35))
    assert provider.coverage(SERIES, *SPAN).counts["present"] == 59
    assert provider.store.quarantined(SeriesId.parse(SERIES), SPAN).height == 1


def test_a_page_that_is_refused_is_not_kept(make: Make) -> None:
    vendor = ScriptedVendor(page_rows=60, delay=0.3, faults={0: Change(rows_outside)})
    provider = make(vendor)
    with pytest.raises(qmtl.SourceUnavailableError):
        provider.fetch(SERIES, *SPAN, sla=qmtl.SLAPolicy(backfill_wait=0.35))
    assert provider.store.newest().tx == 0


class Waits(ScriptedVendor):
    """Gives one page, says so, and then nothing."""

    def __init__(self) -> None:
        super().__init__(page_rows=60)
        self.has_given = threading.Event()

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        async for page in super().pages(series, span):
            yield page
            self.has_given.set()
            await asyncio.get_running_loop().create_future()


def cancelled(provider: SeamlessDataProvider, vendor: Waits) -> None:
    async def leave() -> None:
        call = asyncio.ensure_future(provider.fetch_async(SERIES, *SPAN))
        assert await asyncio.to_thread(vendor.has_given.wait, 60)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(leave())


def pending_cancelled(provider: SeamlessDataProvider, vendor: Waits) -> None:
    result = provider.fetch(SERIES, *SPAN, strategy="PARTIAL_FILL")
    assert vendor.has_given.wait(60)
    result.pending.cancel()


def closed(provider: SeamlessDataProvider, vendor: Waits) -> None:
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(provider.backfill, SERIES, *SPAN)
        assert vendor.has_given.wait(60)
        provider.close()
        with pytest.raises(qmtl.InvalidRequestError, match="closed"):
            call.result(60)


@pytest.mark.parametrize("leave", [cancelled, pending_cancelled, closed])
def test_whoever_leaves_keeps_what_has_come(make: Make, leave: Callable[..., Any]) -> None:
    vendor = Waits()
    provider = make(vendor)
    leave(provider, vendor)
    provider.close()
    again = make(ScriptedVendor())
    assert again.coverage(SERIES, *SPAN).present == Coverage.of(hours(0, 1))
    assert again.store.verify().is_sound
    assert list((again.store.folder / "claims").iterdir()) == []


class SlowStore:
    """Commits of a provider begin, and end only when they may."""

    def __init__(self, provider: SeamlessDataProvider, clock: FakeClock) -> None:
        self.begun, self.go_on, self.ended = threading.Event(), threading.Event(), threading.Event()
        self._commit, self._clock = provider.store.commit, clock
        provider.store.commit = self.commit  # type: ignore[method-assign]  # a disk that takes its time

    def commit(self, *args: Any) -> Any:
        self.begun.set()
        until = time.monotonic() + 60
        while not self.go_on.wait(0.01):
            assert time.monotonic() < until
            self._clock.advance(0.1)  # the clock stands still while a thread is at work
        try:
            return self._commit(*args)
        finally:
            self.ended.set()


def claims_held(provider: SeamlessDataProvider) -> int:
    return len(list((provider.store.folder / "claims").glob("*.lease")))


@pytest.mark.parametrize("given", [1, 6], ids=["a page that came", "a commit under way"])
def test_a_commit_that_outlasts_the_call_is_not_blamed_on_the_vendor(
    make: Make, clock: FakeClock, given: int
) -> None:
    """It goes on in its thread, the shard stays claimed meanwhile, and the next call finds the rows."""
    faults = {given: Hang()} if given < 6 else {}
    vendor = ScriptedVendor(page_rows=60, faults=faults)
    provider = make(vendor)
    store = SlowStore(provider, clock)
    with pytest.raises(qmtl.SeamlessSLAExceeded) as breach:
        provider.fetch(SERIES, *SPAN, sla=qmtl.SLAPolicy(backfill_wait=0.2))
    assert store.begun.is_set()
    assert not store.ended.is_set()
    assert "abandoned" not in breach.value.ledger
    assert claims_held(provider) == 1
    store.go_on.set()
    assert store.ended.wait(60)
    assert provider.fetch(SERIES, *SPAN).frame.height == 360
    assert len(vendor.calls) == (1 if given == 6 else 2)
    until = time.monotonic() + 60
    while claims_held(provider) and time.monotonic() < until:  # they are freed behind the commit
        time.sleep(0.01)
    assert claims_held(provider) == 0


def test_a_vendor_that_does_not_listen_is_blamed_however_slow_the_store_is(
    make: Make, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    provider = make(Slow(deaf=True))
    store = SlowStore(provider, clock)
    with pytest.raises(qmtl.SeamlessSLAExceeded) as breach:
        provider.fetch(SERIES, *SPAN, sla=qmtl.SLAPolicy(backfill_wait=0.5))
    assert not store.ended.is_set()
    assert breach.value.ledger["abandoned"] == ("Slow",)
    store.go_on.set()
    assert store.ended.wait(60)
    gc.collect()  # who was left behind is not garbage: closed in the midst of their work, generators complain
    assert provider.coverage(SERIES, *SPAN).present == Coverage.of(hours(0, 1))
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
