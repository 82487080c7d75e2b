"""A fetch that is cancelled anywhere leaves a provider that answers the next one in full."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest
from polars.testing import assert_frame_equal

import qmtl
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import HOUR, MINUTE, to_ns
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.vendors import Raise, ScriptedVendor

BOTH_ENGINES = True

Make = Callable[..., SeamlessDataProvider]

SERIES = "ohlcv:test:BTC/USDT:1m"
SPAN = Span(to_ns("2024-01-01"), to_ns("2024-01-01T04:00Z"))
PAGES = 4


class Told(ScriptedVendor):
    """Says when it is about to give its page number `at`, and waits there until it may go on."""

    def __init__(self, at: int) -> None:
        super().__init__(page_rows=60)
        self.at = at
        self.reached, self.go_on = threading.Event(), asyncio.Event()

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        number = 0
        async for page in super().pages(series, span):
            if number == self.at and not self.reached.is_set():
                self.reached.set()
                await self.go_on.wait()
            number += 1
            yield page


@pytest.mark.parametrize("at", range(PAGES))
def test_before_any_page(make: Make, at: int) -> None:
    vendor = Told(at)
    provider = make(vendor)

    async def leave() -> None:
        call = asyncio.ensure_future(provider.fetch_async(SERIES, *SPAN))
        await asyncio.to_thread(vendor.reached.wait, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(leave())
    again = provider.fetch(SERIES, *SPAN)
    assert_frame_equal(again.frame, vendor.bars(SERIES, SPAN))
    assert provider.store.verify().is_sound


@pytest.mark.parametrize("steps", range(12))
def test_after_any_step_of_the_callers_loop(make: Make, steps: int) -> None:
    vendor = ScriptedVendor(page_rows=60)
    provider = make(vendor)

    async def leave() -> None:
        call = asyncio.ensure_future(provider.fetch_async(SERIES, *SPAN))
        for _ in range(steps):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait({call})

    asyncio.run(leave())
    assert_frame_equal(provider.fetch(SERIES, *SPAN).frame, vendor.bars(SERIES, SPAN))


def test_many_with_one_twice_and_one_that_fails(make: Make) -> None:
    """The first error is told; the others were cancelled with it, and lost nothing that was committed."""
    down = ScriptedVendor(faults={0: Raise(qmtl.SourceUnavailableError("down", source="x"))})
    up = ScriptedVendor(page_rows=60)
    provider = make({"ohlcv:down:*": down, "*": up})
    names = ["ohlcv:a:X:1m", "ohlcv:a:X:1m", "ohlcv:down:X:1m", "ohlcv:b:X:1m"]
    with pytest.raises(qmtl.SourceUnavailableError, match="down"):
        provider.fetch_many(names, *SPAN)
    reported = provider.fetch_many([name for name in names if "down" not in name], *SPAN)
    assert reported.frame.group_by("series").len().sort("series").rows() == [
        ("ohlcv:a:X:1m", 240),
        ("ohlcv:b:X:1m", 240),
    ]
    assert provider.fetch(SERIES, SPAN.start, SPAN.start + HOUR).frame.height == HOUR // MINUTE
