"""The real ccxt against a real server that fails in every way it can."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar, cast

import polars as pl
import pytest

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import InvalidRequestError, MissingDependencyError, SourceUnavailableError
from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import HOUR, MINUTE, to_ns
from qmtl.runtime.io import rates, retries
from qmtl.runtime.io.rates import RateBudget
from qmtl.runtime.io.vendors import ccxt_client, installed_exchanges
from qmtl.runtime.io.vendors.base import Page, Vendor
from qmtl.runtime.io.vendors.ccxt import CcxtVendor
from qmtl.runtime.io.vendors.ccxt_client import replaced, retry_after
from qmtl.runtime.io.vendors.installed_exchanges import ccxt_exchanges
from qmtl.runtime.testing import FakeClock, Known, SimulatedExchange, VendorSuite
from qmtl.runtime.testing.exchange import (
    Altered,
    Cached,
    Cut,
    Elsewhere,
    Fault,
    NoAnswer,
    Outage,
    ShortPage,
    SinceIgnored,
    Status,
    doubled,
    high_below_low,
    in_microseconds,
    in_seconds,
    negative_price,
    not_a_number,
    shifted,
    shuffled,
)

pytest.importorskip("ccxt", reason="needs qmtl[ccxt]")
pytest.importorskip("aiohttp", reason="needs qmtl[testing]")

T = TypeVar("T")

SERIES = SeriesId.parse("ohlcv:binance:BTC/USDT:1m")
START = to_ns("2024-01-01")
NOW = "2024-02-01T00:00:30Z"
SPAN = Span(START, START + 40 * HOUR)  # 2,400 bars: three pages
QUIET = Coverage.of(
    Span(START + HOUR, START + HOUR + 3 * MINUTE), Span(START + 20 * HOUR, START + 39 * HOUR + 30 * MINUTE)
)


class Somewhen:
    """A clock that stands still, on a loop that does not: sockets need real time."""

    def __init__(self, now: str) -> None:
        self.at = to_ns(now)

    def now(self) -> int:
        return self.at

    monotonic = FakeClock().monotonic
    new_event_loop = staticmethod(asyncio.new_event_loop)


CLOCK: Clock = Somewhen(NOW)


@pytest.fixture(scope="module")
def shared_exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(clock=CLOCK) as exchange:
        yield exchange


@pytest.fixture
def exchange(shared_exchange: SimulatedExchange) -> SimulatedExchange:
    shared_exchange.recover()
    shared_exchange.forget_requests()
    return shared_exchange


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_PAUSE_S", 0.001)


@pytest.fixture
def new_vendor(exchange: SimulatedExchange, tmp_path: Path) -> Callable[[], CcxtVendor]:
    return lambda: vendor_of(exchange, tmp_path)


def vendor_of(exchange: SimulatedExchange, tmp_path: Path, **options: Any) -> CcxtVendor:
    budget = RateBudget("sim", per_second=1e6, path=tmp_path / "rates.sqlite")
    # ccxt waits a quarter of a second for encrypted connections to close; these are not.
    given = {"budget": budget, "options": {"timeout_on_exit": 0}, **options}
    return CcxtVendor("binance", urls=exchange.url, **given)


def play(vendor: CcxtVendor, scene: Callable[[CcxtVendor], Coroutine[Any, Any, T]]) -> T:
    async def and_close() -> T:
        try:
            return await scene(vendor)
        finally:
            await vendor.aclose()

    return asyncio.run(and_close())


def collect(vendor: CcxtVendor, span: Span = SPAN, series: SeriesId = SERIES) -> list[Page]:
    async def scene(vendor: CcxtVendor) -> list[Page]:
        return [page async for page in vendor.pages(series, span)]

    return play(vendor, scene)


def rows(pages: list[Page]) -> pl.DataFrame:
    return pl.concat([page.frame for page in pages])


def answered(pages: list[Page]) -> Coverage:
    return Coverage(page.answered for page in pages)


class TestCcxtVendor(VendorSuite):
    @pytest.fixture
    def known(self, exchange: SimulatedExchange) -> Known:
        unknown = SeriesId.parse("ohlcv:binance:NO/SUCH:1m")
        return Known(SERIES, SPAN, exchange.bars(SERIES, SPAN), unknown)

    @pytest.fixture
    def new_vendor(self, exchange: SimulatedExchange, tmp_path: Path) -> Callable[[], Vendor]:
        return lambda: vendor_of(exchange, tmp_path)


@pytest.fixture(scope="module")
def quiet() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(clock=CLOCK, quiet=QUIET, quiet_share=0.3, seed=5) as exchange:
        yield exchange


class TestCcxtVendorOnAQuietMarket(VendorSuite):
    @pytest.fixture
    def known(self, quiet: SimulatedExchange) -> Known:
        bars = quiet.bars(SERIES, SPAN)
        assert not QUIET.holds(stamps(bars)).any()
        open_minutes = (SPAN.length - QUIET.length) // MINUTE
        assert 0.6 < bars.height / open_minutes < 0.8
        return Known(SERIES, SPAN, bars, None)

    @pytest.fixture
    def new_vendor(self, quiet: SimulatedExchange, tmp_path: Path) -> Callable[[], Vendor]:
        return lambda: vendor_of(quiet, tmp_path)


def test_pages_come_one_by_one(exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor]) -> None:
    async def scene(vendor: CcxtVendor) -> tuple[int, int]:
        async with aclosing(cast("AsyncGenerator[Page, None]", vendor.pages(SERIES, SPAN))) as pages:
            first = await anext(pages)
            return first.frame.height, exchange.count()

    assert play(new_vendor(), scene) == (1000, 1)


@pytest.mark.parametrize(
    "fault",
    [
        Status(429, retry_after=0.02),
        Status(418, retry_after=0.02),
        Status(429),
        Status(500),
        Status(502),
        Status(503),
        Cut(0.0),
        Cut(0.5),
        Cut(0.99),
    ],
    ids=str,
)
def test_failures_that_pass_are_outwaited(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor], fault: Fault
) -> None:
    exchange.fail(fault, times=2)
    pages = collect(new_vendor())
    assert rows(pages).equals(exchange.bars(SERIES, SPAN))
    assert answered(pages) == Coverage.of(SPAN)
    assert exchange.count() == 5


def test_no_answer_is_given_up_and_asked_again(exchange: SimulatedExchange, tmp_path: Path) -> None:
    exchange.fail(NoAnswer())
    pages = collect(vendor_of(exchange, tmp_path, timeout_s=3.0))
    assert rows(pages).equals(exchange.bars(SERIES, SPAN))
    assert exchange.count() == 4


def test_the_list_of_markets_is_asked_for_again_too(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor]
) -> None:
    exchange.fail(Status(503), path="/api/v3/exchangeInfo")
    exchange.fail(Cut(), path="/api/v3/time")
    assert answered(collect(new_vendor())) == Coverage.of(SPAN)


def test_an_exchange_that_stays_down_is_an_error_with_all_facts(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor], caplog: pytest.LogCaptureFixture
) -> None:
    exchange.fail(Status(503), times=99)
    with caplog.at_level(logging.WARNING), pytest.raises(SourceUnavailableError) as failed:
        collect(new_vendor())
    error = failed.value
    assert error.source == "ccxt:binance"
    assert error.series == str(SERIES)
    assert error.span == SPAN
    assert "asked 5 times" in str(error.why)
    assert error.is_away
    assert error.next_step
    assert error.__cause__ is not None
    assert exchange.count() == 5
    retried = [record for record in caplog.records if record.getMessage().startswith("backfill.retry")]
    assert len(retried) == 4
    assert (retried[0].__dict__["node_id"], retried[0].__dict__["start"]) == (str(SERIES), "2024-01-01")


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        budget = RateBudget("sim", per_second=1e6, path=tmp_path / "rates.sqlite")
        with pytest.raises(SourceUnavailableError, match="ccxt:binance"):
            collect(CcxtVendor("binance", urls=url, budget=budget))


def test_retry_after_holds_for_every_process_with_that_budget(
    exchange: SimulatedExchange, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exchange.fail(Status(429, retry_after=60), times=1)
    budget = RateBudget("sim", per_second=1e6, path=tmp_path / "rates.sqlite", clock=Somewhen(NOW))

    async def scene(vendor: CcxtVendor) -> None:
        async def read_on() -> None:
            async for _ in vendor.pages(SERIES, SPAN):
                pass

        reading = asyncio.ensure_future(read_on())
        while "backfill.retry" not in caplog.text and not reading.done():
            await asyncio.sleep(0.001)
        assert not reading.done()  # it waits out its minute
        reading.cancel()

    with caplog.at_level(logging.WARNING):
        play(vendor_of(exchange, tmp_path, budget=budget), scene)
    assert exchange.count() == 1

    fake = FakeClock(NOW)
    other = RateBudget("sim", per_second=1e6, path=tmp_path / "rates.sqlite", clock=fake)
    with asyncio.Runner(loop_factory=fake.new_event_loop) as runner:
        runner.run(other.take())
    assert fake.monotonic() == pytest.approx(60.0)


def test_a_ban_is_reported_and_not_waited_for(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor]
) -> None:
    exchange.fail(Status(418, retry_after=rates.PATIENCE_S + 1), times=1)
    with pytest.raises(SourceUnavailableError, match="301 s"):
        collect(new_vendor())
    with pytest.raises(SourceUnavailableError, match="not to be asked before"):
        collect(new_vendor())
    assert exchange.count() == 1


@pytest.mark.parametrize("most", [1, 7, 999])
def test_a_short_page_is_not_the_end(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor], most: int
) -> None:
    exchange.fail(ShortPage(most), times=3)
    pages = collect(new_vendor())
    assert rows(pages).equals(exchange.bars(SERIES, SPAN))
    assert pages[0].answered == Span(SPAN.start, SPAN.start + most * MINUTE)


@pytest.mark.parametrize("at", range(3))
def test_an_empty_page_is_not_believed_at_once(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor], at: int
) -> None:
    exchange.fail(ShortPage(9999), times=at)
    exchange.fail(ShortPage(0))
    pages = collect(new_vendor())
    assert rows(pages).equals(exchange.bars(SERIES, SPAN))
    assert answered(pages) == Coverage.of(SPAN)


def test_an_exchange_that_contradicts_itself_is_not_believed(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor]
) -> None:
    for days in range(1, 9):
        exchange.fail(Altered(shifted(days * 24 * 3600 * 1000)))
    with pytest.raises(SourceUnavailableError, match="contradict"):
        collect(new_vendor())


YEAR = 365 * 24 * HOUR


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Elsewhere(-YEAR), "1,000 rows from 2023-01-01"),
        (Cached(START - 3 * HOUR, 60), "60 rows from 2023-12-31T21:00:00Z to 2023-12-31T21:59:00Z"),
        (Cached(START + 100 * HOUR, 60), "60 rows from 2024-01-05T04:00:00Z"),
        (SinceIgnored(), "1,000 rows from 2024-01-31T07:21:00Z"),
        (SinceIgnored(1), "1 row from 2024-02-01"),
        (Altered(in_seconds), "the stamps fit if they are seconds, where milliseconds are expected"),
        (
            Altered(in_microseconds),
            "the stamps fit if they are microseconds, where milliseconds are expected",
        ),
    ],
    ids=["another year", "cached, older", "cached, newer", "newest", "newest bar", "seconds", "microseconds"],
)
def test_rows_beside_the_question_prove_nothing_and_are_an_error(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor], fault: Fault, words: str
) -> None:
    exchange.fail(fault, times=99)
    pages: list[Page] = []

    async def scene(vendor: CcxtVendor) -> None:
        async for page in vendor.pages(SERIES, SPAN):
            pages.append(page)

    with pytest.raises(SourceUnavailableError) as failed:
        play(new_vendor(), scene)
    assert not pages
    assert words in str(failed.value.why)
    assert "none of them within [2024-01-01, 2024-01-0" in str(failed.value.why)
    assert exchange.count() <= 5


def test_rows_of_a_later_year_are_contradictions_or_the_truth(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor]
) -> None:
    # Whatever is asked, it answers for a week later: dense rows, none of them ever the same.
    exchange.fail(Elsewhere(7 * 24 * HOUR), times=99)
    with pytest.raises(SourceUnavailableError, match="contradict"):
        collect(new_vendor())


def test_a_page_from_a_cache_proves_what_lies_between_its_rows(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor]
) -> None:
    exchange.fail(Cached(START + 10 * HOUR, 60), times=99)
    pages: list[Page] = []

    async def scene(vendor: CcxtVendor) -> None:
        async for page in vendor.pages(SERIES, SPAN):
            pages.append(page)

    with pytest.raises(SourceUnavailableError, match="60 rows"):
        play(new_vendor(), scene)
    assert answered(pages) == Coverage.of(Span(START + 10 * HOUR, START + 11 * HOUR))
    assert rows(pages).equals(exchange.bars(SERIES, Span(START + 10 * HOUR, START + 11 * HOUR)))


@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize(
    "fault",
    [Elsewhere(-YEAR), Elsewhere(2 * HOUR), Cached(START, 60), Cached(START + 5 * HOUR, 60), SinceIgnored()],
    ids=str,
)
def test_one_answer_to_another_question_is_overcome(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor], fault: Fault, after: int
) -> None:
    exchange.fail(ShortPage(9999), times=after)
    exchange.fail(fault)
    pages = collect(new_vendor())
    assert answered(pages) == Coverage.of(SPAN)
    assert rows(pages).equals(exchange.bars(SERIES, SPAN))


@pytest.mark.parametrize("change", [doubled, shuffled])
def test_twice_and_unsorted_rows_are_the_same_rows(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor], change: Any
) -> None:
    exchange.fail(Altered(change), times=3)
    pages = collect(new_vendor())
    assert rows(pages).unique().sort("ts").equals(exchange.bars(SERIES, SPAN))
    assert answered(pages) == Coverage.of(SPAN)


def test_rows_from_before_the_question_are_no_answer(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor]
) -> None:
    exchange.fail(Altered(shifted(-7 * 24 * 3600 * 1000)))
    assert rows(collect(new_vendor())).equals(exchange.bars(SERIES, SPAN))
    assert exchange.count() == 4


@pytest.mark.parametrize(
    ("change", "bad"),
    [
        (high_below_low, pl.col("high") < pl.col("low")),
        (not_a_number, pl.col("close").is_nan()),
        (negative_price, pl.col("low") < 0),
    ],
)
def test_impossible_values_are_handed_on_as_they_are(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor], change: Any, bad: pl.Expr
) -> None:
    exchange.fail(Altered(change))
    found = rows(collect(new_vendor()))
    assert found.filter(bad)["ts"].to_list() == found["ts"].to_list()[:1]
    assert found.height == 2400


@pytest.mark.parametrize(
    "nonsense", [{"rows": "none"}, [["soon", "1", "2"]], "<html>busy</html>", [None]], ids=str
)
def test_answers_that_are_no_bars_are_asked_again(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor], nonsense: Any
) -> None:
    exchange.fail(Altered(lambda _: nonsense))
    assert rows(collect(new_vendor())).equals(exchange.bars(SERIES, SPAN))


def test_an_outage_that_ends(exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor]) -> None:
    dark = Span(START + 30 * HOUR, START + 31 * HOUR)
    exchange.begin(Outage(dark))

    async def scene(vendor: CcxtVendor) -> list[Page]:
        pages: list[Page] = []

        async def read_on() -> None:
            async for page in vendor.pages(SERIES, SPAN):
                pages.append(page)

        with pytest.raises(SourceUnavailableError):
            await read_on()
        exchange.recover()
        rest = Span(pages[-1].answered.end, SPAN.end)
        return pages + [page async for page in vendor.pages(SERIES, rest)]

    pages = play(new_vendor(), scene)
    assert pages[0].answered.end < dark.start
    assert rows(pages).equals(exchange.bars(SERIES, SPAN))


def test_a_range_that_was_lost_is_answered_without_rows(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor]
) -> None:
    lost = Span(START + 30 * HOUR, START + 33 * HOUR)
    exchange.begin(Outage(lost, status=None))
    pages = collect(new_vendor())
    assert answered(pages) == Coverage.of(SPAN)
    assert rows(pages).height == 2400 - 180


def test_late_corrections_are_seen_on_the_next_asking(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor]
) -> None:
    at = to_ns("2024-01-25T10:00:00Z")
    hour = Span(at, at + HOUR)
    before = rows(collect(new_vendor(), hour))
    exchange.correct("BTC/USDT", at + 5 * MINUTE, volume=123.456)
    after = rows(collect(new_vendor(), hour))
    assert after["volume"][5] == 123.456
    assert after.with_columns(volume=before["volume"]).equals(before)


@pytest.mark.parametrize("timeframe", ["1m", "5m", "1h", "1d"])
def test_the_forming_bar_is_left_out(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor], timeframe: str
) -> None:
    series = SeriesId.parse(f"ohlcv:binance:BTC/USDT:{timeframe}")
    step, now = series.timeframe.step, CLOCK.now()
    span = Span((now // step - 5) * step, (now // step + 3) * step)
    found = collect(new_vendor(), span, series)
    assert stamps(rows(found)).tolist() == [(now // step - n) * step for n in (5, 4, 3, 2, 1)]
    assert answered(found) == Coverage.of(Span(span.start, now // step * step))


def test_the_exchange_decides_what_time_it_is(exchange: SimulatedExchange, tmp_path: Path) -> None:
    # Our clock is ten minutes fast: by it, the last bars have closed long ago.
    fast = Somewhen(NOW)
    fast.at += 10 * MINUTE
    now = CLOCK.now()
    span = Span(now // MINUTE * MINUTE - 5 * MINUTE, now // MINUTE * MINUTE + 5 * MINUTE)
    found = collect(vendor_of(exchange, tmp_path, clock=fast), span)
    assert answered(found) == Coverage.of(Span(span.start, now // MINUTE * MINUTE))


LISTED = to_ns("2017-08-17")


@pytest.mark.parametrize("end", [LISTED - 10 * 24 * HOUR, LISTED, LISTED + HOUR])
def test_before_the_listing_the_exchange_has_nothing(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor], end: int
) -> None:
    span = Span(LISTED - 30 * 24 * HOUR, end)
    found = collect(new_vendor(), span)
    assert answered(found) == Coverage.of(span)
    assert rows(found).equals(exchange.bars(SERIES, span))
    before = Coverage.of(Span(span.start, min(end, LISTED)))
    assert Coverage(cells for page in found for cells in page.absent) == before


def test_the_first_bar_of_all_is_asked_for_once(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor]
) -> None:
    span = Span(LISTED - HOUR, LISTED + HOUR)

    async def twice(vendor: CcxtVendor) -> list[int]:
        counts = []
        for _ in range(2):
            before = exchange.count()
            pages = [page async for page in vendor.pages(SERIES, span)]
            assert pages[0].absent
            counts.append(exchange.count() - before)
        return counts

    first, second = play(new_vendor(), twice)
    assert first == second + 1


@pytest.mark.parametrize(
    "fault",
    [Status(500), ShortPage(0), Altered(shifted(24 * 3600 * 1000)), Altered(shifted(-24 * 3600 * 1000))],
    ids=["it fails", "nothing", "later", "earlier"],
)
def test_an_exchange_that_cannot_tell_its_first_bar_leaves_silence(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor], fault: Fault
) -> None:
    span = Span(LISTED - HOUR, LISTED + HOUR)
    questions = 3  # for what was asked, and whether `since` is heeded; the next is about the first bar of all
    exchange.fail(ShortPage(9999), times=questions)
    exchange.fail(fault, times=20)
    found = collect(new_vendor(), span)
    exchange.recover()
    assert rows(found).height == 60
    assert answered(found) == Coverage.of(span)
    assert not any(page.absent for page in found)


def test_silence_within_a_life_is_no_absence(quiet: SimulatedExchange, tmp_path: Path) -> None:
    silence = Span(START + 21 * HOUR, START + 40 * HOUR)
    found = collect(vendor_of(quiet, tmp_path), silence)
    assert rows(found).height > 0
    assert not any(page.absent for page in found)


@pytest.mark.parametrize(
    ("node", "hint"),
    [
        ("ohlcv:binance:BTCUSDT:1m", "'BTC/USDT'"),
        ("ohlcv:binance:BTC/USTD:1m", "did you mean BTC/USDT"),
        ("ohlcv:binance:XXXXX/YYYYYYY:1m", "2 symbols"),
        ("ohlcv:binance:BTC/USDT:10s", "1m"),
    ],
)
def test_what_the_exchange_does_not_have(
    exchange: SimulatedExchange, tmp_path: Path, node: str, hint: str
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        collect(vendor_of(exchange, tmp_path), SPAN, SeriesId.parse(node))
    assert hint in str(refused.value.next_step)
    assert exchange.count() == 0


def test_one_caller_leaves_while_markets_load_and_the_other_is_served(
    exchange: SimulatedExchange, new_vendor: Callable[[], CcxtVendor]
) -> None:
    exchange.fail(NoAnswer(), path="/api/v3/exchangeInfo")

    async def scene(vendor: CcxtVendor) -> list[Page]:
        async def all_pages() -> list[Page]:
            return [page async for page in vendor.pages(SERIES, SPAN)]

        leaver, stayer = asyncio.ensure_future(all_pages()), asyncio.ensure_future(all_pages())
        while not exchange.count("/api/v3/exchangeInfo"):
            await asyncio.sleep(0.001)
        leaver.cancel()
        return await stayer

    assert answered(play(new_vendor(), scene)) == Coverage.of(SPAN)


def test_a_vendor_serves_one_event_loop_after_another(new_vendor: Callable[[], CcxtVendor]) -> None:
    vendor = new_vendor()
    assert answered(collect(vendor)) == answered(collect(vendor)) == Coverage.of(SPAN)


def test_every_request_is_paid_for(exchange: SimulatedExchange, tmp_path: Path) -> None:
    spent: list[float] = []

    class Counting(RateBudget):
        async def take(self, cost: float = 1.0) -> None:
            spent.append(cost)
            await super().take(cost)

    budget = Counting("sim", per_second=1e6, path=tmp_path / "rates.sqlite")
    collect(vendor_of(exchange, tmp_path, budget=budget))
    assert (
        len(spent) == len(exchange.requests) == 3 + 1 + 3
    )  # markets (spot and two futures APIs), time, pages
    assert all(cost > 0 for cost in spent)


def test_the_own_budget_is_that_of_the_host_that_stands_in(
    exchange: SimulatedExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def budget(venue: str, *, per_second: float, clock: Clock) -> RateBudget:
        made.append(venue)
        assert per_second == 20.0  # what ccxt knows of Binance
        return RateBudget(venue, per_second=1e6, path=tmp_path / "rates.sqlite", clock=clock)

    monkeypatch.setattr(ccxt_client, "RateBudget", budget)
    collect(CcxtVendor("binance", urls=exchange.url))
    assert made == [exchange.url.replace("http://", "binance@")]


def test_urls_are_replaced_by_origin_or_by_name() -> None:
    api = {"public": "https://api.example.com/v3", "deep": {"web": "https://{hostname}/w"}}
    assert replaced(api, "http://127.0.0.1:80") == {
        "public": "http://127.0.0.1:80/v3",
        "deep": {"web": "http://127.0.0.1:80/w"},
    }
    assert replaced("https://api.example.com", "http://proxy/to/") == "http://proxy/to"
    assert replaced(api, {"public": "http://x/y"}) == {**api, "public": "http://x/y"}
    with pytest.raises(InvalidRequestError, match="did you mean public"):
        replaced(api, {"publik": "http://x"})


def test_unknown_exchanges_are_refused_when_the_vendor_is_made() -> None:
    with pytest.raises(InvalidRequestError, match="did you mean binance"):
        CcxtVendor("binanse")
    assert {"binance", "kraken", "coinbase"} <= ccxt_exchanges()


def test_without_ccxt_the_command_that_installs_it_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    ccxt_exchanges.cache_clear()
    monkeypatch.setattr(installed_exchanges, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError) as missing:
        CcxtVendor("binance")
    assert missing.value.next_step == "pip install 'qmtl[ccxt]'"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        ("0.5", 0.5),
        ("Mon, 01 Jan 2024 00:01:30 GMT", 90.0),
        ("Sun, 31 Dec 2023 00:00:00 GMT", 0.0),
        ("soon", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    headers = {} if text is None else {"retry-after": text}
    assert retry_after(headers, START) == seconds


@pytest.mark.parametrize(
    ("exchange", "symbol", "rows", "per_second"),
    [
        ("binance", "BTC/USDT", 1000, 20.0),
        ("binance", "BTC/USDT:USDT", 500, 20.0),
        ("kraken", "BTC/USD", 720, 1.0),
        ("okx", "BTC/USD:BTC", 300, 1000 / 110),
        ("coinbase", "BTC/USD", 300, 1000 / 34),
    ],
)
def test_the_limits_of_an_exchange_are_known_without_asking_it(
    exchange: str, symbol: str, rows: int, per_second: float
) -> None:
    paging = CcxtVendor(exchange).paging(SeriesId.parse(f"ohlcv:{exchange}:{symbol}:1m"))
    assert (paging.rows, paging.per_second) == (rows, per_second)


def test_a_budget_of_ones_own_is_the_rate_that_is_told(tmp_path: Path) -> None:
    budget = RateBudget("x", per_second=3.0, path=tmp_path / "rates.sqlite")
    assert CcxtVendor("binance", budget=budget).paging(SERIES).per_second == 3.0
