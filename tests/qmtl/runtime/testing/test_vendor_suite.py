"""The suite passes an honest vendor, and sees each lie."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import HOUR, MINUTE, to_ns
from qmtl.runtime.io.vendors.base import Page, Vendor
from qmtl.runtime.testing import Known, ScriptedVendor, VendorSuite

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


@pytest.mark.parametrize(
    ("test", "lie"),
    [
        ("test_pages_together_are_the_bars", lambda p: Page(p.frame.slice(1), p.answered)),
        ("test_pages_have_the_schema", lambda p: Page(p.frame.drop("volume"), p.answered)),
        (
            "test_rows_lie_within_what_was_answered",
            lambda p: Page(p.frame, Span(p.answered.start, p.answered.end - MINUTE)),
        ),
        ("test_all_of_it_is_answered", lambda p: Page(p.frame, Span(p.answered.start, p.answered.start))),
        ("test_a_sub_range_is_the_clipped_range", lambda p: Page(p.frame.reverse().slice(1), p.answered)),
    ],
)
def test_lies_are_seen(test: str, lie: Callable[[Page], Page]) -> None:
    with pytest.raises(AssertionError):
        getattr(VendorSuite(), test)(KNOWN, lambda: Lying(lie))


def test_a_vendor_that_makes_up_unknown_series_is_seen() -> None:
    known = Known(SERIES, SPAN, KNOWN.bars, unknown=SeriesId.parse("ohlcv:sim:NO/SUCH:1m"))
    with pytest.raises(pytest.fail.Exception):
        VendorSuite().test_a_series_it_does_not_have_is_refused(known, ScriptedVendor)


def test_a_vendor_that_refuses_without_a_next_step_is_seen() -> None:
    class Terse:
        async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
            if series == SERIES:
                raise InvalidRequestError("no")
            yield Page(KNOWN.bars, span)

    known = Known(SERIES, SPAN, KNOWN.bars, unknown=SERIES)
    with pytest.raises(AssertionError):
        VendorSuite().test_a_series_it_does_not_have_is_refused(known, Terse)
