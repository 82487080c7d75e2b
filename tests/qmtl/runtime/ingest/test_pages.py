"""The pages of a vendor keep their promises, or are refused with the facts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

import polars as pl
import pytest

from qmtl.foundation.errors import (
    InvalidRequestError,
    SourceUnavailableError,
    StoreError,
)
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import BAR_SCHEMA, empty_bars
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import HOUR, MINUTE
from qmtl.runtime.ingest.pages import UnfitPageError, checked, pages_of
from qmtl.runtime.ingest.stall_guard import FRUITLESS_PAGES, StallGuard
from qmtl.runtime.io.vendors.base import Page, Vendor
from qmtl.runtime.testing.bars import synthetic_bars

SERIES = SeriesId.parse("ohlcv:test:A/B:1m")
FACTS = SeriesFacts()
RUN = Span(0, HOUR)
TEN = Span(0, 10 * MINUTE)


def bars(span: Span = TEN) -> pl.DataFrame:
    return synthetic_bars(SERIES, span)


def check(page: object, facts: SeriesFacts = FACTS) -> Page:
    return checked(cast("Page", page), SERIES, facts, RUN, "vendor")


# -- one page -------------------------------------------------------------------------------------------


def test_a_good_page_is_taken_as_it_is() -> None:
    page = check(Page(bars().reverse(), TEN, Coverage.of(Span(0, MINUTE))))
    assert page.frame.equals(bars().reverse())
    assert page.answered == TEN
    assert page.absent == Coverage.of(Span(0, MINUTE))


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_times_of_any_unit_become_nanoseconds_exactly(unit: Any) -> None:
    frame = bars().with_columns(pl.col("ts").cast(pl.Datetime(unit, "UTC")))
    assert check(Page(frame, TEN)).frame.equals(bars())


def test_other_columns_are_left_out_and_the_order_is_ours() -> None:
    frame = bars().with_columns(trades=pl.lit(3)).select("trades", "volume", pl.exclude("trades", "volume"))
    assert check(Page(frame, TEN)).frame.schema == BAR_SCHEMA


def test_an_empty_page_needs_no_columns() -> None:
    page = check(Page(pl.DataFrame(), TEN))
    assert page.frame.schema == BAR_SCHEMA
    assert page.answered == TEN


def test_a_column_of_nothing_but_nulls_has_no_type_of_its_own() -> None:
    frame = bars().with_columns(volume=pl.lit(None))
    assert check(Page(frame, TEN)).frame["volume"].null_count() == 10
    assert check(Page(frame, TEN)).frame.schema == BAR_SCHEMA


def test_volumes_are_made_null_only_where_their_lack_is_declared() -> None:
    page = Page(bars().drop("volume"), TEN)
    assert check(page, SeriesFacts(has_volume=False)).frame["volume"].null_count() == 10
    with pytest.raises(UnfitPageError, match="it has no column volume") as refused:
        check(page)
    assert "has_volume: false" in (refused.value.why or "")
    assert refused.value.rows == 10


REFUSED = {
    "no page": (None, "it is a NoneType", 0),
    "no frame": (Page(cast("Any", [1]), TEN), "its frame is a list", 0),
    "no span": (Page(bars(), cast("Any", (0, 5))), "its answered is a tuple", 0),
    "no coverage": (Page(bars(), TEN, cast("Any", [])), "its absent is a list", 0),
    "ends that are texts": (
        Page(bars(), Span._make(("2024-01-01", "2024-01-02"))),  # type: ignore[arg-type]
        "its answered is ('2024-01-01', '2024-01-02')",
        0,
    ),
    "beyond the question": (Page(bars(), Span(0, HOUR + 1)), "it answers for", 0),
    "absent beyond the answer": (Page(bars(), TEN, Coverage.of(Span(0, HOUR))), "it calls", 0),
    "a naive time": (Page(bars().with_columns(pl.col("ts").dt.replace_time_zone(None)), TEN), "its ts", 10),
    "another zone": (
        Page(bars().with_columns(pl.col("ts").dt.convert_time_zone("Asia/Tokyo")), TEN),
        "its ts",
        10,
    ),
    "no ts at all": (Page(bars().drop("ts"), TEN), "its ts column is None", 10),
    "a row without a time": (
        Page(bars().with_columns(ts=pl.when(pl.col("ts") != pl.col("ts").min()).then("ts")), TEN),
        "it has rows without a ts",
        1,
    ),
    "prices as text": (
        Page(bars().with_columns(pl.col("open").cast(pl.String)), TEN),
        "open is String",
        10,
    ),
    "a missing price": (Page(bars().drop("low"), TEN), "it has no column low", 10),
    "a row before the answer": (Page(bars(), Span(MINUTE, HOUR)), "it has a row at 1970-01-01", 0),
    "a row at the open end": (
        Page(bars(), Span(0, 9 * MINUTE)),
        "it has a row at 1970-01-01T00:09:00Z",
        0,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_promise_is_refused_with_the_facts(name: str) -> None:
    page, what, rows = REFUSED[name]
    with pytest.raises(SourceUnavailableError) as refused:
        check(page)
    error = refused.value
    assert error.what.startswith(f"a page of vendor is refused: {what}")
    assert (error.source, error.series, error.span) == ("vendor", SERIES.text, RUN)
    assert "nothing of this page was stored" in (error.next_step or "")
    assert getattr(error, "rows", 0) == rows
    assert isinstance(error, UnfitPageError) == bool(rows)


def test_rows_in_another_unit_are_refused_with_the_unit_that_would_fit() -> None:
    run = Span(1_700_000_000_000_000_000 // MINUTE * MINUTE, 1_700_003_600_000_000_000 // MINUTE * MINUTE)
    frame = bars().with_columns(
        ts=pl.Series([run.start // 1000 + k for k in range(10)]).cast(pl.Datetime("ns", "UTC"))
    )
    with pytest.raises(SourceUnavailableError, match="no row of it answers") as refused:
        checked(Page(frame, run), SERIES, FACTS, run, "vendor")
    assert "the stamps fit if they are" in (refused.value.why or "")


def test_a_time_that_nanoseconds_cannot_hold_does_not_wrap_around() -> None:
    """2**64 ns after 00:05 is again 00:05 for who multiplies in int64."""
    around = 2**64 // 1_000_000 + 300_000
    frame = bars().with_columns(
        ts=pl.Series([k * 60_000 for k in range(9)] + [around]).cast(pl.Datetime("ms", "UTC"))
    )
    with pytest.raises(SourceUnavailableError, match="a time that nanoseconds cannot tell"):
        check(Page(frame, TEN))


# -- all pages of a question -----------------------------------------------------------------------------


class Pages:
    """A vendor that hands out these pages, then raises, and counts how often it was closed."""

    def __init__(self, *pages: object, failure: BaseException | None = None, repeat: bool = False) -> None:
        self.given = pages
        self.failure = failure
        self.repeat = repeat
        self.closed = 0

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        try:
            while True:
                for page in self.given:
                    yield cast("Page", page)
                if not self.repeat:
                    break
            if self.failure is not None:
                raise self.failure
        finally:
            self.closed += 1


def read(vendor: object) -> list[Page]:
    async def story() -> list[Page]:
        guard = StallGuard(Grid(SERIES.timeframe))
        source = pages_of(cast("Vendor", vendor), SERIES, FACTS, RUN, source="vendor", guard=guard)
        async with aclosing(source):
            return [page async for page in source]

    return asyncio.run(story())


def test_all_pages_come_and_the_iterator_is_closed() -> None:
    vendor = Pages(Page(bars(), TEN), Page(empty_bars(), Span(10 * MINUTE, HOUR)))
    assert [page.answered for page in read(vendor)] == [TEN, Span(10 * MINUTE, HOUR)]
    assert vendor.closed == 1


@pytest.mark.parametrize(
    "failure",
    [
        ValueError("no key"),
        StoreError("a store of the vendor's own"),
        asyncio.CancelledError(),
        SystemExit(2),
        ExceptionGroup("two", [KeyError("a")]),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_whatever_a_vendor_raises_is_its_failure(failure: BaseException) -> None:
    with pytest.raises(SourceUnavailableError) as failed:
        read(Pages(failure=failure))
    error = failed.value
    assert (error.what, error.source) == ("vendor failed", "vendor")
    assert (error.series, error.span) == (SERIES.text, RUN)
    assert type(failure).__name__ in (error.why or "")
    assert error.__cause__ is failure


def test_a_broken_connection_goes_through_so_that_it_can_be_tried_again() -> None:
    with pytest.raises(ConnectionResetError):
        read(Pages(failure=ConnectionResetError("gone")))


def test_an_own_error_of_a_vendor_gets_the_series_and_range_that_it_lacks() -> None:
    with pytest.raises(InvalidRequestError) as bare:
        read(Pages(failure=InvalidRequestError("no such symbol")))
    assert (bare.value.series, bare.value.span) == (SERIES.text, RUN)
    with pytest.raises(SourceUnavailableError) as full:
        read(Pages(failure=SourceUnavailableError("down", source="x", series="other", span=TEN)))
    assert (full.value.series, full.value.span) == ("other", TEN)


def test_a_vendor_that_is_no_iterator_failed() -> None:
    class NoPages:
        def pages(self, series: SeriesId, span: Span) -> int:
            return 3

    with pytest.raises(SourceUnavailableError, match="vendor failed"):
        read(NoPages())


def test_a_vendor_that_repeats_itself_is_left() -> None:
    vendor = Pages(Page(bars(), TEN), repeat=True)
    with pytest.raises(SourceUnavailableError, match="brings nothing further") as left:
        read(vendor)
    assert f"{FRUITLESS_PAGES + 1} pages were read" in (left.value.why or "")
    assert vendor.closed == 1


def test_a_refused_page_closes_the_vendor() -> None:
    vendor = Pages(Page(bars(), Span(0, 2 * HOUR)))
    with pytest.raises(SourceUnavailableError, match="refused"):
        read(vendor)
    assert vendor.closed == 1


class _OfTexts:
    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        yield Page(bars(), Span("2024-01-01", "2024-01-02"))  # type: ignore[arg-type]


def test_a_span_of_texts_is_a_failure_of_the_vendor_with_the_facts() -> None:
    async def read() -> None:
        guard = StallGuard(Grid(SERIES.timeframe))
        async with aclosing(pages_of(_OfTexts(), SERIES, FACTS, RUN, source="vendor", guard=guard)) as pages:
            async for _ in pages:
                pass

    with pytest.raises(SourceUnavailableError) as refused:
        asyncio.run(read())
    assert "a span is made of int nanoseconds UTC, not of '2024-01-01' and '2024-01-02'" in (
        refused.value.why or ""
    )
