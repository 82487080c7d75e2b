"""What every vendor promises, as tests that each one inherits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import polars as pl
import pytest

from qmtl.foundation.errors import InvalidRequestError, QmtlError
from qmtl.foundation.frames import BAR_SCHEMA, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import iso
from qmtl.foundation.words import counted
from qmtl.runtime.ingest.asking import TRIES
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

    `new_vendor` is called inside the event loop of each test. A vendor that has `aclose` is closed by it. A
    connection that breaks (`OSError`, and so `ConnectionError` and `TimeoutError`) is asked again for what is
    left, four times in all, as a fetch does. A failure says what is wanted, why, and what came instead.
    """

    @pytest.fixture
    def known(self) -> Known:
        raise NotImplementedError("give a `known` fixture: a range of a series, and its bars")

    @pytest.fixture
    def new_vendor(self) -> Callable[[], Vendor]:
        raise NotImplementedError("give a `new_vendor` fixture: a function that makes the vendor under test")

    def test_pages_together_are_the_bars(self, known: Known, new_vendor: Callable[[], Vendor]) -> None:
        _same_bars(_collect(new_vendor, known.series, known.span), known.bars, known.span)

    def test_pages_have_the_schema(self, known: Known, new_vendor: Callable[[], Vendor]) -> None:
        _collect(new_vendor, known.series, known.span)

    def test_rows_lie_within_what_was_answered(self, known: Known, new_vendor: Callable[[], Vendor]) -> None:
        for page in _collect(new_vendor, known.series, known.span):
            outside = page.frame.filter(~Coverage.of(page.answered).holds(stamps(page.frame)))
            assert outside.is_empty(), _failure(
                "each row of a page opens within its `answered`",
                "a row beside it shows that the page belongs to another question, and is refused",
                f"a page that answers for {page.answered} has {counted(outside.height, 'row')} outside, "
                f"the first at {iso(int(stamps(outside)[0])) if outside.height else None}",
            )
            assert Coverage.of(page.answered).contains(page.absent.hull), _failure(
                "`absent` lies within `answered`",
                "to say that a bar is not there is an answer, too",
                f"a page that answers for {page.answered} calls {page.absent} absent",
            )
            assert known.span.contains(page.answered), _failure(
                "`answered` lies within the range that was asked for",
                "bars are committed as they are asked for; a page beyond the question is refused",
                f"asked for {known.span}, a page answers for {page.answered}",
            )

    def test_all_of_it_is_answered(self, known: Known, new_vendor: Callable[[], Vendor]) -> None:
        answered = _answered(_collect(new_vendor, known.series, known.span))
        if known.no_trade:
            assert answered == Coverage.of(known.span), _failure(
                "the `answered` of all pages together is the range that was asked for, quiet bars included",
                "what no page answers for stays unknown, and is asked for at every fetch",
                f"of {known.span} these are not answered for: {Coverage.of(known.span) - answered}",
            )
        else:
            cells = Grid(known.series.timeframe).cells(stamps(known.bars))
            assert answered == cells, _failure(
                "`answered` is the bars with a row, and no others (`Known.no_trade` is False)",
                "a source whose silence proves nothing must not turn quiet bars into `no_trade`",
                f"answered without a row: {answered - cells}; rows without an answer: {cells - answered}",
            )

    def test_a_sub_range_is_the_clipped_range(self, known: Known, new_vendor: Callable[[], Vendor]) -> None:
        step = known.series.timeframe.step
        cells = known.span.length // step
        for first, last in [(0, 1), (1, cells - 1), (cells // 3, cells // 2), (cells - 1, cells)]:
            span = Span(known.span.start + first * step, known.span.start + last * step)
            pages = _collect(new_vendor, known.series, span)
            _same_bars(pages, _clip(known.bars, span), span)
            if known.no_trade:
                assert _answered(pages) == Coverage.of(span), _failure(
                    "a part of a range is answered for whole, wherever it begins and ends",
                    "a fetch asks for the holes of a range alone, and these may be single bars",
                    f"asked for {span}, answered for {_answered(pages)}",
                )

    def test_an_empty_span_asks_for_nothing(self, known: Known, new_vendor: Callable[[], Vendor]) -> None:
        pages = _collect(new_vendor, known.series, Span(known.span.start, known.span.start))
        assert _answered(pages) == EMPTY, _failure(
            "an empty range is answered by nothing: no page, or empty ones",
            "a range is half-open, so that one which ends where it begins holds no bar",
            f"it answers for {_answered(pages)}",
        )

    def test_two_calls_at_once_do_not_meet(self, known: Known, new_vendor: Callable[[], Vendor]) -> None:
        middle = known.span.start + known.span.length // known.series.timeframe.step // 2 * (
            known.series.timeframe.step
        )
        halves = [Span(known.span.start, middle), Span(middle, known.span.end)]

        async def scene(vendor: Vendor) -> list[list[Page]]:
            return await asyncio.gather(*(_pages(vendor, known.series, half) for half in halves))

        for half, pages in zip(halves, _run(new_vendor, scene), strict=True):
            _same_bars(
                pages, _clip(known.bars, half), half, when="while another call of the same vendor goes on"
            )

    def test_a_call_may_be_left_after_its_first_page(
        self, known: Known, new_vendor: Callable[[], Vendor]
    ) -> None:
        async def scene(vendor: Vendor) -> list[Page]:
            async with aclosing(_opened(vendor, known.series, known.span)) as pages:
                with suppress(OSError):  # a connection may break in this call, too
                    await anext(pages)
            return await _pages(vendor, known.series, known.span)

        pages = _run(new_vendor, scene)
        _same_bars(pages, known.bars, known.span, when="after an earlier call was left at its first page")

    def test_a_cancelled_call_ends_and_the_vendor_lives_on(
        self, known: Known, new_vendor: Callable[[], Vendor]
    ) -> None:
        async def scene(vendor: Vendor) -> list[Page]:
            call = asyncio.ensure_future(_pages(vendor, known.series, known.span))
            await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait({call})
            failure = None if call.cancelled() else call.exception()
            assert failure is None, _failure(
                "a call that is cancelled ends with the cancellation, or with its pages",
                "a budget ends a call by cancelling it, and must not look like a failure of the source",
                f"it raises {type(failure).__name__}: {failure}",
            )
            return await _pages(vendor, known.series, known.span)

        pages = _run(new_vendor, scene)
        _same_bars(pages, known.bars, known.span, when="after an earlier call was cancelled")

    def test_a_series_it_does_not_have_is_refused(
        self, known: Known, new_vendor: Callable[[], Vendor]
    ) -> None:
        if known.unknown is None:
            pytest.skip("this vendor has every series that one may name")
        try:
            pages = _collect(new_vendor, known.unknown, known.span)
            seen = f"it answers for {_answered(pages)}"
        except InvalidRequestError as refused:
            if refused.next_step:
                return
            seen = f"the error has no next step: {refused}"
        except Exception as other:  # noqa: BLE001 - whatever else it raises is what was seen
            seen = f"it raises {type(other).__name__}: {other}"
        pytest.fail(
            _failure(
                f"{known.unknown}, which the vendor does not have, raises `qmtl.InvalidRequestError` with a "
                "`next_step`",
                "an empty answer would turn a misspelt symbol into bars that did not trade; and who reads an "
                "error wants to know what to do",
                seen,
            )
        )


def _failure(wanted: str, why: str, seen: str) -> str:
    """What a failed assertion says to who writes the vendor."""
    return f"\n  wanted: {wanted}\n  why:    {why}\n  seen:   {seen}"


def _columns(schema: pl.Schema) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in schema.items())


def _same_bars(pages: list[Page], bars: pl.DataFrame, span: Span, *, when: str = "") -> None:
    """Fail unless the pages together hold exactly these bars."""
    rows = _rows(pages)
    if rows.equals(bars):
        return
    lost, more = (a.join(b, on="ts", how="anti") for a, b in ((bars, rows), (rows, bars)))
    pytest.fail(
        _failure(
            f"the pages together hold exactly the bars of {span}{', ' + when if when else ''}",
            "a bar that is lost, made up or changed on the way is a wrong answer",
            f"{counted(rows.height, 'row')} for {counted(bars.height, 'bar')}; "
            f"{lost.height} are missing{_first(lost)}, "
            f"{more.height} are not among them{_first(more)}; {_differing(rows, bars)}",
        )
    )


def _first(frame: pl.DataFrame) -> str:
    return f" (first {iso(int(stamps(frame)[0]))})" if frame.height else ""


def _differing(rows: pl.DataFrame, bars: pl.DataFrame) -> str:
    if rows.schema != bars.schema:
        return f"the columns are {_columns(rows.schema)}"
    changed = rows.join(bars, on="ts").height - rows.join(bars, on=rows.columns, nulls_equal=True).height
    return f"{changed} have other values"


def _opened(vendor: Vendor, series: SeriesId, span: Span) -> AsyncGenerator[Page, None]:
    # Vendors are generators; the contract's wider type has no `aclose`.
    return cast("AsyncGenerator[Page, None]", vendor.pages(series, span))


async def _pages(vendor: Vendor, series: SeriesId, span: Span) -> list[Page]:
    """All pages of a range; what a broken connection leaves open is asked for again, as a fetch does."""
    pages: list[Page] = []
    left = [span]
    for tries in reversed(range(TRIES)):
        try:
            for part in left:
                async with aclosing(_opened(vendor, series, part)) as opened:
                    async for page in opened:
                        _check_schema(page)
                        pages.append(page)
            break
        except OSError as broken:
            if tries == 0 or isinstance(broken, QmtlError):
                raise
            left = list(Coverage.of(span) - _answered(pages))
    return pages


def _check_schema(page: Page) -> None:
    assert page.frame.schema == BAR_SCHEMA, _failure(
        f"the frame of each page has the columns {_columns(BAR_SCHEMA)}",
        "any other type would have to be guessed at",
        f"a page has {_columns(page.frame.schema)}",
    )


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
            assert not left, _failure(
                "nothing of the vendor goes on once its calls have ended and `aclose` was awaited",
                "a task that is left behind holds a connection, and keeps a program from ending",
                f"still running: {', '.join(task.get_name() for task in left)}",
            )

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
