"""The suite passes an honest vendor, and sees each lie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import polars as pl
import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import HOUR, MINUTE, to_ns
from qmtl.runtime.io.vendors.base import Page, Vendor
from qmtl.runtime.testing import Known, Raise, ScriptedVendor, VendorSuite

SERIES = SeriesId.parse("ohlcv:sim:BTC/USDT:1m")
SPAN = Span(to_ns("2024-01-01"), to_ns("2024-01-01") + 6 * HOUR)
QUIET = Coverage.of(Span(SPAN.start + 10 * MINUTE, SPAN.start + 15 * MINUTE))
KNOWN = Known(SERIES, SPAN, ScriptedVendor(no_trade=QUIET).bars(SERIES, SPAN), unknown=None)


class TestScriptedVendor(VendorSuite):
    @pytest.fixture
    def known(self) -> Known:
        return KNOWN

    @pytest.fixture
    def new_vendor(self) -> Callable[[], Vendor]:
        return lambda: ScriptedVendor(no_trade=QUIET, page_rows=50)


class Lying:
    """Answers each page as `lie` makes it."""

    def __init__(self, lie: Callable[[Page], Page]) -> None:
        self._honest = ScriptedVendor(no_trade=QUIET, page_rows=50)
        self._lie = lie

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        async for page in self._honest.pages(series, span):
            yield self._lie(page)


class TestFlakyVendor(VendorSuite):
    """A connection that breaks now and then is no failure: what is left is asked for again."""

    @pytest.fixture
    def known(self) -> Known:
        return KNOWN

    @pytest.fixture
    def new_vendor(self) -> Callable[[], Vendor]:
        faults = {
            page: Raise(kind("cut"))
            for page, kind in ((0, ConnectionResetError), (3, TimeoutError), (4, OSError))
        }
        return lambda: ScriptedVendor(no_trade=QUIET, page_rows=50, faults=faults)


@pytest.mark.parametrize(
    ("test", "lie", "message"),
    [
        (
            "test_pages_together_are_the_bars",
            lambda p: Page(p.frame.slice(1), p.answered),
            [
                "wanted: the pages together hold exactly the bars",
                "8 are missing (first 2024-01-01)",
            ],
        ),
        (
            "test_pages_together_are_the_bars",
            lambda p: Page(p.frame.with_columns(pl.col("volume") + 1), p.answered),
            ["0 are missing, 0 are not among them; 355 have other values"],
        ),
        (
            "test_pages_have_the_schema",
            lambda p: Page(p.frame.drop("volume"), p.answered),
            ["wanted: the frame of each page has the columns ts Datetime", "why:    any other type"],
        ),
        (
            "test_rows_lie_within_what_was_answered",
            lambda p: Page(p.frame, Span(p.answered.start, p.answered.end - MINUTE)),
            ["wanted: each row of a page opens within its `answered`", "1 row outside, the first at"],
        ),
        (
            "test_rows_lie_within_what_was_answered",
            lambda p: Page(
                p.frame, p.answered, absent=Coverage.of(Span(p.answered.end, p.answered.end + MINUTE))
            ),
            ["wanted: `absent` lies within `answered`"],
        ),
        (
            "test_rows_lie_within_what_was_answered",
            lambda p: Page(p.frame, Span(p.answered.start, SPAN.end + MINUTE)),
            ["wanted: `answered` lies within the range that was asked for"],
        ),
        (
            "test_all_of_it_is_answered",
            lambda p: Page(p.frame, Span(p.answered.start, p.answered.start)),
            ["why:    what no page answers for stays unknown", "these are not answered for: Coverage("],
        ),
        (
            "test_a_sub_range_is_the_clipped_range",
            lambda p: Page(p.frame.reverse().slice(1), p.answered),
            ["wanted: the pages together hold exactly the bars of [2024-01-01, 2024-01-01T00:01:00Z)"],
        ),
    ],
)
def test_lies_are_seen_and_explained(test: str, lie: Callable[[Page], Page], message: list[str]) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)) as seen:
        getattr(VendorSuite(), test)(KNOWN, lambda: Lying(lie))
    for words in message:
        assert words in str(seen.value)


@pytest.mark.parametrize(
    "test",
    [
        "test_pages_together_are_the_bars",
        "test_pages_have_the_schema",
        "test_rows_lie_within_what_was_answered",
        "test_all_of_it_is_answered",
        "test_a_sub_range_is_the_clipped_range",
    ],
)
def test_stamps_without_a_zone_are_explained_by_every_test(test: str) -> None:
    def naive(page: Page) -> Page:
        return Page(page.frame.with_columns(pl.col("ts").dt.replace_time_zone(None)), page.answered)

    with pytest.raises(AssertionError, match=r"wanted: the frame of each page has the columns ts Datetime"):
        getattr(VendorSuite(), test)(KNOWN, lambda: Lying(naive))


def test_a_vendor_that_always_breaks_is_seen() -> None:
    faults = {page: Raise(ConnectionResetError("cut")) for page in range(9)}
    with pytest.raises(ConnectionResetError):
        VendorSuite().test_pages_together_are_the_bars(KNOWN, lambda: ScriptedVendor(faults=faults))


def test_a_task_that_goes_on_is_seen() -> None:
    class Busy(ScriptedVendor):
        async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
            self.poll = asyncio.create_task(asyncio.sleep(3600), name="poll the exchange")
            async for page in super().pages(series, span):
                yield page

    with pytest.raises(AssertionError, match="still running: poll the exchange"):
        VendorSuite().test_pages_together_are_the_bars(KNOWN, lambda: Busy(no_trade=QUIET))


def test_a_vendor_that_makes_up_unknown_series_is_seen() -> None:
    known = Known(SERIES, SPAN, KNOWN.bars, unknown=SeriesId.parse("ohlcv:sim:NO/SUCH:1m"))
    with pytest.raises(pytest.fail.Exception, match="a misspelt symbol"):
        VendorSuite().test_a_series_it_does_not_have_is_refused(known, ScriptedVendor)


def test_a_vendor_that_refuses_without_a_next_step_is_seen() -> None:
    class Terse:
        async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
            if series == SERIES:
                raise InvalidRequestError("no")
            yield Page(KNOWN.bars, span)

    known = Known(SERIES, SPAN, KNOWN.bars, unknown=SERIES)
    with pytest.raises(pytest.fail.Exception, match="the error has no next step: no"):
        VendorSuite().test_a_series_it_does_not_have_is_refused(known, Terse)
