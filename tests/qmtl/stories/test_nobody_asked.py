"""A provider that asks nobody starts no loop, neither to answer nor to close."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.sdk.lazy_vendor import LazyVendor
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.vendors import ScriptedVendor

SERIES = "ohlcv:test:BTC/USDT:1m"
DAY = ("2024-01-01", "2024-01-02")


class CountingClock(SystemClock):
    """Counts the loops that are asked of it."""

    loops = 0

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        self.loops += 1
        return super().new_event_loop()


class ClosedVendor(ScriptedVendor):
    closed = False

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with SeamlessDataProvider(tmp_path, ScriptedVendor(), progress=False) as filled:
        filled.fetch(SERIES, *DAY)
    return tmp_path


def test_what_is_stored_needs_no_loop(store: Path) -> None:
    clock = CountingClock()
    with SeamlessDataProvider(store, {}, clock=clock) as provider:
        assert provider.fetch(SERIES, *DAY).frame.height == 1440
        assert provider.coverage(SERIES, *DAY).counts["present"] == 1440
    assert clock.loops == 0


def test_a_vendor_of_settings_that_was_not_asked_is_not_made_to_be_closed(store: Path) -> None:
    def make() -> ScriptedVendor:
        raise AssertionError("nobody asked for it")

    clock = CountingClock()
    with SeamlessDataProvider(store, LazyVendor("slow", make), clock=clock) as provider:
        assert provider.fetch(SERIES, *DAY).frame.height == 1440
    assert clock.loops == 0


def test_a_vendor_that_was_handed_over_is_closed_though_nobody_asked_it(store: Path) -> None:
    vendor, clock = ClosedVendor(), CountingClock()
    with SeamlessDataProvider(store, vendor, clock=clock) as provider:
        assert provider.fetch(SERIES, *DAY).frame.height == 1440
    assert vendor.closed
    assert clock.loops == 1


def test_a_vendor_of_settings_that_was_asked_is_closed(tmp_path: Path) -> None:
    vendor = ClosedVendor()
    with SeamlessDataProvider(tmp_path, LazyVendor("slow", lambda: vendor), progress=False) as provider:
        assert provider.fetch(SERIES, *DAY).frame.height == 1440
    assert vendor.closed


def test_what_was_closed_unused_takes_no_work(store: Path) -> None:
    provider = SeamlessDataProvider(store, {})
    provider.close()
    with pytest.raises(InvalidRequestError, match="the provider is closed"):
        provider.backfill([SERIES], *DAY)
    work = asyncio.sleep(0)
    with pytest.raises(InvalidRequestError, match="the provider is closed"):
        provider._parts.loop.submit(work)
