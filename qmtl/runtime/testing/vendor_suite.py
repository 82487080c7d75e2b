"""What every vendor promises, as tests that each one inherits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import polars as pl
import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import BAR_SCHEMA, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.runtime.io.vendors.base import Page, Vendor

T = TypeVar("T")


@dataclass(frozen=True)
class Known:
    """What a suite may rely on: the vendor answers for all of `span` of `series` with exactly `bars`.

    span lies on the grid, holds at least ten cells and is long past; bars is BAR_SCHEMA, sorted and unique.
    unknown is a series that the vendor does not have, or None if it has any that one may name.
    no_trade: whether cells of `span` without a row are answered for (True), or stay unknown.
    """

    series: SeriesId
    span: Span
    bars: pl.DataFrame
    unknown: SeriesId | None
    no_trade: bool = True


class VendorSuite:
    """Inherit it, and give two fixtures: `known`, and `new_vendor`, which makes the vendor under test.

    `new_vendor` is called inside the event loop of each test. A vendor that has `aclose` is closed by it.
    """

    @pytest.fixture
    def known(self) -> Known:
        raise NotImplementedError("give a `known` fixture")

    @pytest.fixture
    def new_vendor(self) -> Callable[[], Vendor]:
        raise NotImplementedError("give a `new_vendor` fixture")

    def test_pages_together_are_the_bars(self, known: Known, new_vendor: Callable[[], Vendor]) -> None:
        pages = _collect(new_vendor, known.series, known.span)
        assert _rows(pages).equals(known.bars)

    def test_pages_have_the_schema(self, known: Known, new_vendor: Callable[[], Vendor]) -> None:
        for page in _collect(new_vendor, known.series, known.span):
            assert page.frame.schema == BAR_SCHEMA

    def test_rows_lie_within_what_was_answered(self, known: Known, new_vendor: Callable[[], Vendor]) -> None:
        for page in _collect(new_vendor, known.series, known.span):
            assert Coverage.of(page.answered).holds(stamps(page.frame)).all()
            assert Coverage.of(page.answered).contains(page.absent.hull)
            assert known.span.contains(page.answered)

    def test_all_of_it_is_answered(self, known: Known, new_vendor: Callable[[], Vendor]) -> None:
        answered = _answered(_collect(new_vendor, known.series, known.span))
        grid = Grid(known.series.timeframe)
        if known.no_trade:
            assert answered == Coverage.of(known.span)
        else:
            assert answered == grid.cells(stamps(known.bars))

    def test_a_sub_range_is_the_clipped_range(self, known: Known, new_vendor: Callable[[], Vendor]) -> None:
        step = known.series.timeframe.step
        cells = known.span.length // step
        for first, last in [(0, 1), (1, cells - 1), (cells // 3, cells // 2), (cells - 1, cells)]:
            span = Span(known.span.start + first * step, known.span.start + last * step)
            pages = _collect(new_vendor, known.series, span)
            assert _rows(pages).equals(_clip(known.bars, span))
            if known.no_trade:
                assert _answered(pages) == Coverage.of(span)

    def test_an_empty_span_asks_for_nothing(self, known: Known, new_vendor: Callable[[], Vendor]) -> None:
        pages = _collect(new_vendor, known.series, Span(known.span.start, known.span.start))
        assert _answered(pages) == EMPTY

    def test_two_calls_at_once_do_not_meet(self, known: Known, new_vendor: Callable[[], Vendor]) -> None:
        middle = known.span.start + known.span.length // known.series.timeframe.step // 2 * (
            known.series.timeframe.step
        )
        halves = [Span(known.span.start, middle), Span(middle, known.span.end)]

        async def scene(vendor: Vendor) -> list[list[Page]]:
            return await asyncio.gather(*(_pages(vendor, known.series, half) for half in halves))

        for half, pages in zip(halves, _run(new_vendor, scene), strict=True):
            assert _rows(pages).equals(_clip(known.bars, half))

    def test_a_call_may_be_left_after_its_first_page(
        self, known: Known, new_vendor: Callable[[], Vendor]
    ) -> None:
        async def scene(vendor: Vendor) -> list[Page]:
            async with aclosing(_opened(vendor, known.series, known.span)) as pages:
                await anext(pages)
            return await _pages(vendor, known.series, known.span)

        assert _rows(_run(new_vendor, scene)).equals(known.bars)

    def test_a_cancelled_call_ends_and_the_vendor_lives_on(
        self, known: Known, new_vendor: Callable[[], Vendor]
    ) -> None:
        async def scene(vendor: Vendor) -> list[Page]:
            call = asyncio.ensure_future(_pages(vendor, known.series, known.span))
            await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait({call})
            assert call.cancelled() or call.exception() is None
            return await _pages(vendor, known.series, known.span)

        assert _rows(_run(new_vendor, scene)).equals(known.bars)

    def test_a_series_it_does_not_have_is_refused(
        self, known: Known, new_vendor: Callable[[], Vendor]
    ) -> None:
        if known.unknown is None:
            pytest.skip("this vendor has every series that one may name")
        with pytest.raises(InvalidRequestError) as refused:
            _collect(new_vendor, known.unknown, known.span)
        assert refused.value.next_step


def _opened(vendor: Vendor, series: SeriesId, span: Span) -> AsyncGenerator[Page, None]:
    # Vendors are generators; the contract's wider type has no `aclose`.
    return cast("AsyncGenerator[Page, None]", vendor.pages(series, span))


async def _pages(vendor: Vendor, series: SeriesId, span: Span) -> list[Page]:
    async with aclosing(_opened(vendor, series, span)) as pages:
        return [page async for page in pages]


def _run(new_vendor: Callable[[], Vendor], scene: Callable[[Vendor], Coroutine[Any, Any, T]]) -> T:
    """Play the scene with a new vendor, and see that nothing is left running when the vendor is closed."""

    async def play() -> T:
        vendor = new_vendor()
        try:
            return await scene(vendor)
        finally:
            close = getattr(vendor, "aclose", None)
            if close is not None:
                await close()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"still running after aclose: {left}"

    return asyncio.run(play())


def _collect(new_vendor: Callable[[], Vendor], series: SeriesId, span: Span) -> list[Page]:
    return _run(new_vendor, lambda vendor: _pages(vendor, series, span))


def _rows(pages: list[Page]) -> pl.DataFrame:
    """All rows, sorted; pages may overlap where they agree."""
    frames = [page.frame for page in pages]
    return pl.concat(frames).unique().sort("ts") if frames else pl.DataFrame(schema=BAR_SCHEMA)


def _answered(pages: list[Page]) -> Coverage:
    return Coverage(page.answered for page in pages)


def _clip(bars: pl.DataFrame, span: Span) -> pl.DataFrame:
    ts = stamps(bars)
    first, last = np.searchsorted(ts, [span.start, span.end])
    return bars.slice(int(first), int(last - first))
