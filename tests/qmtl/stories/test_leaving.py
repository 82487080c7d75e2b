"""A wish to end the program reaches whoever waits, and the provider goes on for all the others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from polars.testing import assert_frame_equal

import qmtl
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import to_ns
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.vendors import ScriptedVendor

Make = Callable[..., SeamlessDataProvider]

SERIES, OTHER = "ohlcv:test:A:1m", "ohlcv:test:B:1m"
SPAN = Span(to_ns("2024-01-01"), to_ns("2024-01-01T04:00Z"))
PATIENCE_S = 120.0
WISHES = [SystemExit, KeyboardInterrupt]


def answers(provider: SeamlessDataProvider, series: str = OTHER) -> None:
    """It goes on working, on both faces."""
    vendor = ScriptedVendor()
    with ThreadPoolExecutor(1) as threads:
        result = threads.submit(provider.fetch, series, *SPAN).result(PATIENCE_S)
    assert_frame_equal(result.frame, vendor.bars(series, SPAN))
    later = Span(SPAN.end, SPAN.end + SPAN.length)
    assert asyncio.run(asyncio.wait_for(provider.fetch_async(series, *later), PATIENCE_S)).frame.height == 240


class Leaves:
    """A callback that raises `wish`, the first time."""

    def __init__(self, wish: type[BaseException]) -> None:
        self.wish: type[BaseException] | None = wish

    def __call__(self, _: object) -> None:
        wish, self.wish = self.wish, None
        if wish is not None:
            raise wish("leave")


FACES: dict[str, Callable[[SeamlessDataProvider, Any], object]] = {
    "fetch": lambda provider, progress: provider.fetch(SERIES, *SPAN, on_progress=progress),
    "backfill": lambda provider, progress: provider.backfill(SERIES, *SPAN, on_progress=progress),
    "fetch_async": lambda provider, progress: asyncio.run(
        provider.fetch_async(SERIES, *SPAN, on_progress=progress)
    ),
    "fetch_many": lambda provider, progress: provider.fetch_many(
        [SERIES, "ohlcv:test:C:1m"], *SPAN, on_progress=progress
    ),
    "pending": lambda provider, progress: provider.fetch(
        SERIES, *SPAN, strategy="PARTIAL_FILL", partial_ok=True, on_progress=progress
    ).pending.wait(PATIENCE_S),
}


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("face", FACES)
def test_of_a_callback(make: Make, face: str, wish: type[BaseException]) -> None:
    provider = make(ScriptedVendor())
    with pytest.raises(wish, match="leave"):
        FACES[face](provider, Leaves(wish))
    answers(provider)
    answers(provider, SERIES)


@pytest.mark.parametrize("wish", WISHES)
def test_it_does_not_reach_those_who_wait_for_something_else(make: Make, wish: type[BaseException]) -> None:
    class Waits(ScriptedVendor):
        """Gives its page of the other series only when it is told to."""

        def __init__(self) -> None:
            super().__init__()
            self.asked, self.go_on = threading.Event(), threading.Event()

        async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
            if str(series) == OTHER:
                self.asked.set()
                await asyncio.to_thread(self.go_on.wait)
            async for page in super().pages(series, span):
                yield page

    vendor = Waits()
    provider = make(vendor)
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(provider.fetch, OTHER, *SPAN)
        assert vendor.asked.wait(PATIENCE_S)
        with pytest.raises(wish):
            provider.fetch(SERIES, *SPAN, on_progress=Leaves(wish))
        vendor.go_on.set()
        assert other.result(PATIENCE_S).frame.height == 240


class ClosesPages(ScriptedVendor):
    """Its iterators raise `wish` where they are closed, the first time."""

    def __init__(self, wish: type[BaseException], *, fails: bool = False) -> None:
        super().__init__()
        self.wish: type[BaseException] | None = wish
        self.fails = fails

    def pages(self, series: SeriesId, span: Span) -> Any:
        pages = super().pages(series, span)
        vendor = self

        class Iterator:
            def __aiter__(self) -> Any:
                return self

            async def __anext__(self) -> Page:
                if vendor.fails:
                    vendor.fails = False
                    raise ValueError("the first")
                return await anext(pages)

            async def aclose(self) -> None:
                wish, vendor.wish = vendor.wish, None
                if wish is not None:
                    raise wish("leave")

        return Iterator()


@pytest.mark.parametrize("wish", WISHES)
def test_of_the_closing_of_pages(make: Make, wish: type[BaseException]) -> None:
    provider = make(ClosesPages(wish))
    with pytest.raises(wish, match="leave"):
        provider.fetch(SERIES, *SPAN)
    kept = provider.fetch(SERIES, *SPAN, strategy="FAIL_FAST")
    assert kept.frame.height == 240, "what was read before is kept"
    answers(provider)


@pytest.mark.parametrize("wish", WISHES)
def test_of_the_closing_of_pages_after_an_error(make: Make, wish: type[BaseException]) -> None:
    provider = make(ClosesPages(wish, fails=True))
    with pytest.raises(qmtl.SourceUnavailableError, match="the first"):
        provider.fetch(SERIES, *SPAN)
    answers(provider)


@pytest.mark.parametrize("wish", WISHES)
def test_of_the_closing_of_a_vendor(make: Make, wish: type[BaseException]) -> None:
    closed: list[str] = []
    of_others = set(threading.enumerate())  # some were left behind, and stand still for ever

    class Closes(ScriptedVendor):
        async def aclose(self) -> None:
            raise wish("leave")

    class Last(ScriptedVendor):
        def aclose(self) -> None:
            closed.append("last")

    provider = make({"ohlcv:test:A:*": Closes(), "*": Last()})
    provider.fetch(SERIES, *SPAN)
    with pytest.raises(wish, match="leave"):
        provider.close()
    assert closed == ["last"]
    with pytest.raises(qmtl.QmtlError):
        provider.store.read(SeriesId.parse(SERIES), SPAN)
    provider.close()
    assert not [
        thread
        for thread in set(threading.enumerate()) - of_others
        if thread.name == "qmtl-loop" and thread.is_alive()
    ]


# -- closing on a loop of the caller's --------------------------------------------------------------------


def test_a_with_block_inside_a_running_loop(make: Make) -> None:
    async def program() -> int:
        with make(ScriptedVendor()) as provider:
            return provider.fetch(SERIES, *SPAN).frame.height

    assert asyncio.run(program()) == 240


def test_an_async_with_block(make: Make) -> None:
    async def program() -> int:
        async with make(ScriptedVendor()) as provider:
            return (await provider.fetch_async(SERIES, *SPAN)).frame.height

    assert asyncio.run(program()) == 240


def test_close_inside_a_running_loop_with_a_fetch_under_way(make: Make) -> None:
    class Waits(ScriptedVendor):
        def __init__(self) -> None:
            super().__init__()
            self.asked = threading.Event()

        async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
            self.asked.set()
            await asyncio.get_running_loop().create_future()
            yield Page(self.bars(series, span), span)

    async def program() -> None:
        vendor = Waits()
        with make(vendor) as provider:
            call = asyncio.ensure_future(provider.fetch_async(SERIES, *SPAN))
            await asyncio.to_thread(vendor.asked.wait, PATIENCE_S)
        with pytest.raises(qmtl.InvalidRequestError, match="closed"):
            await call

    asyncio.run(program())
