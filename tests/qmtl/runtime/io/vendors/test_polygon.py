"""The vendor for Polygon against a simulation of it that pages, splits, forgets, and fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import InvalidRequestError, SourceUnavailableError
from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, iso, to_ns
from qmtl.runtime.io import retries
from qmtl.runtime.io.rates import RateBudget
from qmtl.runtime.io.vendors.base import Page, Paging, Vendor
from qmtl.runtime.io.vendors.polygon import KEY_VARIABLE, PolygonVendor
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing import FakeClock, Known, SimulatedPolygon, VendorSuite
from qmtl.runtime.testing.exchange import Altered, Cut, Fault, NoAnswer, ShortPage, Status
from qmtl.runtime.testing.polygon import Split

pytest.importorskip("aiohttp", reason="needs qmtl[testing]")

DAILY = SeriesId.parse("ohlcv:polygon:AAPL:1d")
ADJUSTED = SeriesId.parse("ohlcv:polygon-adjusted:AAPL:1d")
HOURLY = SeriesId.parse("ohlcv:polygon:AAPL:1h")
YEAR = Span(to_ns("2023-01-01"), to_ns("2024-01-01"))
WEEK = Span(to_ns("2024-03-04"), to_ns("2024-03-09"))  # New York goes on summer time the day after
QUIET = Coverage.of(Span(to_ns("2023-03-01"), to_ns("2023-03-08")))
SPLITS = {"AAPL": Split("2023-06-01", 4)}


class Somewhen:
    """A clock that stands still, on a loop that does not: sockets need real time."""

    def __init__(self, now: str) -> None:
        self.at = to_ns(now)

    def now(self) -> int:
        return self.at

    monotonic = FakeClock().monotonic
    new_event_loop = staticmethod(asyncio.new_event_loop)


CLOCK: Clock = Somewhen("2024-06-03T12:00:00Z")


@pytest.fixture
def server() -> Iterator[SimulatedPolygon]:
    served = SimulatedPolygon(gone=["LEH"], splits=SPLITS, quiet=QUIET, page_rows=40, clock=CLOCK)
    with served as server:
        yield server


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_PAUSE_S", 0.001)
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture
def new_vendor(server: SimulatedPolygon, tmp_path: Path) -> Callable[..., PolygonVendor]:
    def new(**options: Any) -> PolygonVendor:
        budget = RateBudget("sim", per_second=1e6, path=tmp_path / "rates.sqlite")
        given = {"url": server.url, "key": server.key, "budget": budget, "clock": CLOCK, **options}
        return PolygonVendor(**given)

    return new


def collect(vendor: PolygonVendor, series: SeriesId = DAILY, span: Span = YEAR) -> list[Page]:
    async def scene() -> list[Page]:
        try:
            return [page async for page in vendor.pages(series, span)]
        finally:
            await vendor.aclose()

    return asyncio.run(scene())


def rows(pages: list[Page]) -> pl.DataFrame:
    return pl.concat([page.frame for page in pages])


class TestPolygonVendor(VendorSuite):
    @pytest.fixture
    def known(self, server: SimulatedPolygon) -> Known:
        unknown = SeriesId.parse("ohlcv:polygon:APPL:1d")
        return Known(DAILY, YEAR, server.bars(DAILY, YEAR), unknown)

    @pytest.fixture
    def new_vendor(self, new_vendor: Callable[..., PolygonVendor]) -> Callable[[], Vendor]:
        return new_vendor


class TestPolygonVendorOfHours(VendorSuite):
    @pytest.fixture
    def known(self, server: SimulatedPolygon) -> Known:
        return Known(HOURLY, WEEK, server.bars(HOURLY, WEEK), None)

    @pytest.fixture
    def new_vendor(self, new_vendor: Callable[..., PolygonVendor]) -> Callable[[], Vendor]:
        return new_vendor


def test_a_day_is_stamped_with_the_date_of_its_session(
    server: SimulatedPolygon, new_vendor: Callable[..., PolygonVendor]
) -> None:
    """In winter New York's midnight is 05:00 UTC, in summer 04:00."""
    span = Span(to_ns("2024-03-04"), to_ns("2024-03-16"))
    found = rows(collect(new_vendor(), span=span))
    assert [iso(ts) for ts in stamps(found).tolist()] == [
        *(f"2024-03-{day:02}" for day in (4, 5, 6, 7, 8, 11, 12, 13, 14, 15))
    ]
    (call,) = [call for call in server.calls if call.path.endswith("/2024-03-04/2024-03-15")][:1]
    assert call.parameters == {"adjusted": "false", "sort": "asc", "limit": "50000"}


def test_pages_follow_the_cursor(server: SimulatedPolygon, new_vendor: Callable[..., PolygonVendor]) -> None:
    pages = collect(new_vendor())
    assert rows(pages).equals(server.bars(DAILY, YEAR))
    assert [page.frame.height for page in pages] == [40] * 6 + [5, 0]
    cursors = [call.parameters["cursor"] for call in server.calls if "cursor" in call.parameters]
    assert len(cursors) == 6
    assert Coverage(page.answered for page in pages) == Coverage.of(YEAR)


def test_adjusted_bars_are_another_series(
    server: SimulatedPolygon, new_vendor: Callable[..., PolygonVendor]
) -> None:
    plain, adjusted = rows(collect(new_vendor())), rows(collect(new_vendor(), ADJUSTED))
    before = stamps(plain) < to_ns("2023-06-01")
    assert adjusted.equals(server.bars(ADJUSTED, YEAR))
    assert (plain["close"].filter(before) / 4).equals(adjusted["close"].filter(before))
    assert plain.filter(~before).equals(adjusted.filter(~before))


@pytest.mark.parametrize("series", [DAILY, ADJUSTED], ids=["unadjusted", "adjusted"])
def test_bars_of_the_other_kind_are_refused(
    server: SimulatedPolygon, new_vendor: Callable[..., PolygonVendor], series: SeriesId, monkeypatch: Any
) -> None:
    answer = server._aggregates

    def other_kind(*args: Any) -> dict[str, Any]:
        told = answer(*args)
        return {**told, "adjusted": not told["adjusted"]}

    monkeypatch.setattr(server, "_aggregates", other_kind)
    with pytest.raises(SourceUnavailableError, match="cannot be read") as refused:
        collect(new_vendor(), series)
    assert "adjusted bars, and answered with" in str(refused.value.why)


@pytest.mark.parametrize(
    "fault",
    [
        Status(429),
        Status(429, retry_after=0.001),
        Status(500),
        Status(503, retry_after=0.001),
        Cut(0.5),
        ShortPage(3),
        ShortPage(0),
    ],
    ids=repr,
)
def test_a_passing_fault_costs_a_request_and_no_bar(
    server: SimulatedPolygon, new_vendor: Callable[..., PolygonVendor], fault: Fault
) -> None:
    server.fail(fault)
    pages = collect(new_vendor())
    assert rows(pages).equals(server.bars(DAILY, YEAR))
    assert Coverage(page.answered for page in pages) == Coverage.of(YEAR)


def test_a_request_that_is_never_answered_is_given_up_and_asked_again(
    server: SimulatedPolygon, new_vendor: Callable[..., PolygonVendor]
) -> None:
    server.fail(NoAnswer())
    found = collect(new_vendor(timeout_s=3.0), span=WEEK)
    assert rows(found).height == 5


def test_what_the_rate_limit_says_holds_for_all_requests(
    server: SimulatedPolygon, new_vendor: Callable[..., PolygonVendor], tmp_path: Path
) -> None:
    server.fail(Status(429, retry_after=4000.0))
    with pytest.raises(SourceUnavailableError) as refused:
        collect(new_vendor())
    assert "HTTP 429" in str(refused.value.why)
    again = RateBudget("sim", per_second=1e6, path=tmp_path / "rates.sqlite", clock=CLOCK)
    with pytest.raises(SourceUnavailableError, match="is not to be asked before"):
        asyncio.run(again.take())


def of_more(rows: list[Any]) -> list[Any]:
    return [*rows, {**rows[-1], "t": rows[-1]["t"] + 400 * 86_400_000}]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (of_more, "none of them within"),
        (lambda rows: [{**row, "t": row["t"] // 1000} for row in rows], "seconds, where milliseconds"),
        (lambda rows: [{**row, "t": row["t"] * 1000} for row in rows], "microseconds, where milliseconds"),
        (lambda rows: [{**row, "t": row["t"] * 10**9} for row in rows], "none of them within"),
        (lambda rows: [{"t": row["t"]} for row in rows], "rows that are no bars: KeyError: 'o'"),
        (lambda rows: [{**row, "c": "much"} for row in rows], "rows that are no bars"),
        (lambda rows: [{**row, "t": None} for row in rows], "rows that are no bars"),
    ],
)
def test_rows_that_are_no_answer_are_refused(
    server: SimulatedPolygon, new_vendor: Callable[..., PolygonVendor], change: Any, why: str
) -> None:
    server.fail(Altered(change), times=10)
    with pytest.raises(SourceUnavailableError) as refused:
        collect(new_vendor())
    assert why in str(refused.value.why)
    assert (refused.value.series, refused.value.source) == (DAILY.text, "polygon")


def test_a_page_that_lacks_rows_that_it_counts_is_refused(
    server: SimulatedPolygon, new_vendor: Callable[..., PolygonVendor], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = server._aggregates
    monkeypatch.setattr(server, "_aggregates", lambda *args: {**answer(*args), "resultsCount": 99})
    with pytest.raises(SourceUnavailableError) as refused:
        collect(new_vendor())
    assert refused.value.why == "it says that it has 99 rows, and sends 40"


def test_a_cursor_that_leads_nowhere_ends(
    server: SimulatedPolygon, new_vendor: Callable[..., PolygonVendor], monkeypatch: pytest.MonkeyPatch
) -> None:
    circle = "https://api.polygon.io/v2/aggs/ticker/AAPL/range/1/day/2023-01-01/2023-12-31?adjusted=false&cursor=2023-01-01"
    answer = server._aggregates
    nothing = {"results": [], "resultsCount": 0, "next_url": circle}
    monkeypatch.setattr(server, "_aggregates", lambda *args: {**answer(*args), **nothing})
    with pytest.raises(SourceUnavailableError) as refused:
        collect(new_vendor())
    assert refused.value.why == "20 answers in a row brought no further bar"


def test_the_key_goes_to_its_own_address_alone_and_is_never_shown(
    server: SimulatedPolygon, new_vendor: Callable[..., PolygonVendor], caplog: pytest.LogCaptureFixture
) -> None:
    """`next_url` names api.polygon.io, where the simulation is not."""
    server.fail(Status(500))
    vendor = new_vendor()
    with caplog.at_level(logging.DEBUG):
        collect(vendor)
    assert all(call.authorized for call in server.calls)
    assert "cursor" in str(server.calls)
    shown = f"{caplog.text} {vendor!r} {vars(vendor)['_clients']!r} {server.calls!r}"
    assert "backfill.retry" in shown
    assert server.key not in shown


def test_a_wrong_key_and_no_key_are_said_so(
    server: SimulatedPolygon, new_vendor: Callable[..., PolygonVendor], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceUnavailableError) as refused:
        collect(new_vendor(key="wrong"))
    assert refused.value.why == "HTTP 401: Unknown API Key"
    assert "whether the key is right" in str(refused.value.next_step)
    with pytest.raises(SourceUnavailableError) as refused:
        collect(new_vendor(key=None))
    assert refused.value.why == "the variable POLYGON_API_KEY is not set"
    monkeypatch.setenv(KEY_VARIABLE, f" {server.key}\n")
    assert rows(collect(new_vendor(key=None), span=WEEK)).height == 5


def test_a_range_that_the_plan_lacks_is_said_in_the_words_of_the_source(
    server: SimulatedPolygon, new_vendor: Callable[..., PolygonVendor]
) -> None:
    server.fail(Status(403))
    with pytest.raises(SourceUnavailableError) as refused:
        collect(new_vendor())
    assert refused.value.why == "HTTP 403: the simulation says 403"
    assert "whether your plan has this range" in str(refused.value.next_step)


def test_a_ticker_of_the_past_is_known_and_one_that_never_was_is_not(
    new_vendor: Callable[..., PolygonVendor],
) -> None:
    gone = SeriesId.parse("ohlcv:polygon:LEH:1d")
    quiet = Span(to_ns("2023-03-01"), to_ns("2023-03-04"))
    (page,) = collect(new_vendor(), gone, quiet)
    assert (page.frame.height, page.answered) == (0, quiet)
    with pytest.raises(InvalidRequestError, match="polygon has no ticker 'APPL'"):
        collect(new_vendor(), SeriesId.parse("ohlcv:polygon:APPL:1d"))


@pytest.mark.parametrize(
    ("series", "says"),
    [
        ("ohlcv:nasdaq:AAPL:1d", "serves no venue 'nasdaq'"),
        ("ohlcv:polygon:AAPL:1w", "serves no bars of 1w"),
        ("ohlcv:polygon:AAPL:4h", "serves no bars of 4h"),
        ("ohlcv:polygon:AAPL:1s", "serves no bars of 1s"),
    ],
)
def test_what_is_not_served_is_refused_without_a_request(
    server: SimulatedPolygon, new_vendor: Callable[..., PolygonVendor], series: str, says: str
) -> None:
    with pytest.raises(InvalidRequestError, match=says) as refused:
        collect(new_vendor(), SeriesId.parse(series))
    assert refused.value.next_step
    assert server.calls == []


@pytest.mark.parametrize(
    ("now", "last"),
    [
        ("2024-01-03T00:59:59Z", "2024-01-02"),  # 19:59 in New York: trading after hours goes on
        ("2024-01-03T01:00:00Z", "2024-01-03"),
        ("2024-07-03T00:00:00Z", "2024-07-03"),  # 20:00, summer time
    ],
)
def test_a_day_is_final_when_trading_after_hours_has_ended(
    new_vendor: Callable[..., PolygonVendor], now: str, last: str
) -> None:
    end = to_ns(last)
    pages = collect(new_vendor(clock=Somewhen(now)), span=Span(end - 10 * DAY, end + 10 * DAY))
    assert max(page.answered.end for page in pages) == end


def test_its_limits_are_known_without_asking(server: SimulatedPolygon) -> None:
    vendor = PolygonVendor(url=server.url)
    assert vendor.paging(DAILY) == Paging(50_000, 5 / 60)
    assert vendor.paging(HOURLY).rows == 833, "an hour is made of sixty minutes, which are counted"
    assert vendor.paging(SeriesId.parse("ohlcv:polygon:AAPL:5m")).rows == 10_000
    assert PolygonVendor(per_minute=600).paging(DAILY).per_second == 10.0
    with pytest.raises(InvalidRequestError, match="is not a URL of HTTP"):
        PolygonVendor(url="ftp://x")


def test_a_provider_serves_both_kinds_side_by_side(
    server: SimulatedPolygon, new_vendor: Callable[..., PolygonVendor], tmp_path: Path
) -> None:
    with SeamlessDataProvider(
        tmp_path / "bars",
        vendors={"ohlcv:polygon*": new_vendor()},
        calendars={"ohlcv:polygon*": "XNYS"},
    ) as provider:
        span = ("2023-05-01", "2023-07-01")
        for series in (DAILY, ADJUSTED):
            result = provider.fetch(series, *span, partial_ok=True)
            assert result.frame.equals(server.bars(series, Span(*map(to_ns, span))))
            assert result.coverage.counts["unknown"] == 0
            assert result.receipt.calendar == "XNYS"
