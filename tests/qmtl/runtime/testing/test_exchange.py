"""The simulated exchange answers as a real one does, and fails as it is told."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import polars as pl
import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import SeriesId, Timeframe
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE, to_ns
from qmtl.runtime.testing import FakeClock, SimulatedExchange, synthetic_bars
from qmtl.runtime.testing.exchange import (
    Altered,
    Cut,
    Market,
    NoAnswer,
    Outage,
    ShortPage,
    Status,
    doubled,
    shuffled,
)

pytest.importorskip("aiohttp", reason="needs qmtl[testing]")

START = to_ns("2024-01-01")
START_MS = START // 1_000_000
NOW = to_ns("2024-02-01T10:00:40Z")
MINUTES = "ohlcv:binance:BTC/USDT:1m"
CLOCK = FakeClock(NOW)


@pytest.fixture(scope="module")
def shared_exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(clock=CLOCK) as exchange:
        yield exchange


@pytest.fixture
def exchange(shared_exchange: SimulatedExchange) -> SimulatedExchange:
    shared_exchange.recover()
    shared_exchange.forget_requests()
    return shared_exchange


def get(exchange: SimulatedExchange, path: str, timeout: float = 20.0, **query: Any) -> Any:
    text = "&".join(f"{name}={value}" for name, value in query.items())
    with urllib.request.urlopen(f"{exchange.url}{path}?{text}", timeout=timeout) as answer:
        return json.load(answer)


def klines(exchange: SimulatedExchange, **query: Any) -> list[list[Any]]:
    found: list[list[Any]] = get(
        exchange, "/api/v3/klines", **{"symbol": "BTCUSDT", "interval": "1m", **query}
    )
    return found


def opens(rows: list[list[Any]]) -> list[int]:
    return [row[0] for row in rows]


def market(**options: Any) -> Market:
    return Market("BTC/USDT", lambda: NOW, **options)


def test_bars_are_those_of_the_same_walk(exchange: SimulatedExchange) -> None:
    span = Span(START, START + DAY)
    for timeframe in ("1m", "5m", "1h", "1d", "1w"):
        series = f"ohlcv:binance:ETH/USDT:{timeframe}"
        assert exchange.bars(series, span).equals(synthetic_bars(series, span))


@pytest.mark.parametrize("timeframe", ["1s", "15s", "1m", "3m", "1h"])
def test_trades_roll_up_to_bars_exactly(timeframe: str) -> None:
    sim = market(quiet_share=0.2)
    # Up to now, so that the forming minute is part of it.
    span = Span(NOW - NOW % HOUR - 2 * HOUR, NOW + HOUR)
    found = sim.bars(Timeframe.parse(timeframe), span)
    trades = pl.DataFrame(
        sim.trades(span, limit=10**6), schema=["id", "ts", "price", "quantity"], orient="row"
    )
    assert trades["ts"].is_sorted()
    assert trades["id"].is_unique().all()
    assert (trades["quantity"] > 0).all()
    step = Timeframe.parse(timeframe).step
    rolled = (
        trades.group_by((pl.col("ts") // step * step).alias("bar"), maintain_order=True)
        .agg(
            pl.col("price").first().alias("open"),
            pl.col("price").max().alias("high"),
            pl.col("price").min().alias("low"),
            pl.col("price").last().alias("close"),
            pl.col("quantity").sum(),
        )
        .to_numpy()
    )
    assert np.array_equal(np.stack(list(found), axis=1), rolled)


def test_klines_from_a_start_are_the_oldest_and_the_end_is_inclusive(exchange: SimulatedExchange) -> None:
    minute = 60_000
    assert opens(klines(exchange, startTime=START_MS, limit=3)) == [START_MS + n * minute for n in range(3)]
    assert len(klines(exchange, startTime=START_MS)) == 500
    assert len(klines(exchange, startTime=START_MS, limit=99999)) == 1000
    assert opens(klines(exchange, startTime=START_MS + 1, endTime=START_MS + 2 * minute)) == [
        START_MS + minute,
        START_MS + 2 * minute,
    ]
    assert klines(exchange, startTime=START_MS, endTime=START_MS - 1) == []
    assert opens(klines(exchange, endTime=START_MS, limit=2)) == [START_MS - minute, START_MS]


def test_a_kline_tells_its_prices_as_text_and_its_last_millisecond(exchange: SimulatedExchange) -> None:
    (row,) = klines(exchange, startTime=START_MS, limit=1)
    bar = synthetic_bars(MINUTES, Span(START, START + MINUTE)).row(0)
    assert [float(text) for text in row[1:6]] == list(bar[1:])
    assert all(isinstance(text, str) for text in row[1:6])
    assert row[6] == START_MS + 59_999


def test_the_forming_bar_is_the_last_and_changes(exchange: SimulatedExchange) -> None:
    last = klines(exchange, limit=2)
    assert last[-1][0] == NOW // MINUTE * 60_000
    (day,) = klines(exchange, interval="1d", limit=1)
    assert day[0] == NOW // DAY * 24 * 3600 * 1000
    assert day[4] == last[-1][4]  # both close at the newest trade
    whole = synthetic_bars(MINUTES, Span(NOW // MINUTE * MINUTE, NOW // MINUTE * MINUTE + MINUTE))
    assert 0 < float(last[-1][5]) < whole["volume"][0]
    assert exchange.bars(MINUTES, Span(NOW - NOW % MINUTE, NOW + HOUR)).height == 0


def test_nothing_before_the_listing() -> None:
    sim = market(listed="2024-01-10T12:00Z")
    hours = sim.bars(Timeframe.parse("1h"), Span(START, NOW), limit=3)
    assert hours.ts.tolist() == [to_ns("2024-01-10T12:00Z") + n * HOUR for n in range(3)]
    days = sim.bars(Timeframe.parse("1d"), Span(START, NOW), limit=1)
    assert days.ts.tolist() == [to_ns("2024-01-10")]
    assert sim.trades_from(0, limit=1)[0].ts >= to_ns("2024-01-10T12:00Z")
    assert sim.trades(Span(START, START + HOUR), limit=5) == []


def test_long_silences_are_jumped_over() -> None:
    quiet = Span(to_ns("2019-01-01"), to_ns("2023-12-31T23:59:30Z"))
    sim = market(quiet=Coverage.of(quiet))
    found = sim.bars(Timeframe.parse("1m"), Span(to_ns("2019-06-01"), NOW), limit=2)
    assert found.ts.tolist() == [START, START + MINUTE]  # a minute that is touched is quiet
    assert sim.bars(Timeframe.parse("1d"), Span(to_ns("2020-01-01"), NOW), limit=1).ts.tolist() == [START]


def test_a_correction_reaches_every_timeframe_and_the_trades(exchange: SimulatedExchange) -> None:
    at = to_ns("2024-01-20T05:03:00Z")
    hour = Span(at - 3 * MINUTE, at + 57 * MINUTE)
    series = SeriesId.parse("ohlcv:binance:ETH/USDT:1h")
    (before,) = exchange.bars(series, hour).rows()
    exchange.correct("ETH/USDT", at, high=99_999.99, volume=1000.0)
    (after,) = exchange.bars(series, hour).rows()
    assert after[2] == 99_999.99
    assert after[5] > before[5] + 900
    trades = get(
        exchange, "/api/v3/aggTrades", symbol="ETHUSDT", startTime=at // 10**6, endTime=at // 10**6 + 59_999
    )
    assert max(float(trade["p"]) for trade in trades) == 99_999.99
    for wrong in ({"high": 1.0}, {"close": -1.0}, {"colour": 1.0}):
        with pytest.raises(InvalidRequestError):
            exchange.correct("ETH/USDT", at, **wrong)


def test_trades_are_paged_by_time_and_by_id(exchange: SimulatedExchange) -> None:
    path = "/api/v3/aggTrades"
    first = get(exchange, path, symbol="BTCUSDT", startTime=START_MS, limit=10)
    assert len(first) == 10
    onward = get(exchange, path, symbol="BTCUSDT", fromId=first[-1]["a"] + 1, limit=10)
    both = get(exchange, path, symbol="BTCUSDT", startTime=START_MS, limit=20)
    assert first + onward == both
    newest = get(exchange, "/api/v3/trades", symbol="BTCUSDT", limit=5)
    assert len(newest) == 5
    assert newest[-1]["time"] < NOW // 10**6
    assert get(exchange, path, symbol="BTCUSDT", limit=5)[-1]["a"] == newest[-1]["id"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"symbol": "NOSUCH"}, -1121),
        ({"interval": "7x"}, -1120),
        ({"startTime": "yesterday"}, -1100),
        ({"limit": "-5"}, -1100),
    ],
)
def test_bad_requests_get_the_codes_of_binance(
    exchange: SimulatedExchange, query: dict[str, str], code: int
) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        klines(exchange, **query)
    with refused.value as answer:
        assert answer.code == 400
        assert json.load(answer)["code"] == code


def test_statuses_come_once_each_in_order(exchange: SimulatedExchange) -> None:
    exchange.fail(Status(429, retry_after=7))
    exchange.fail(Status(503))
    seen = []
    for _ in range(2):
        with pytest.raises(urllib.error.HTTPError) as refused:
            klines(exchange)
        with refused.value as answer:
            seen.append((answer.code, answer.headers.get("Retry-After")))
    assert seen == [(429, "7"), (503, None)]
    assert len(klines(exchange, limit=2)) == 2
    assert [request.status for request in exchange.requests] == [429, 503, 200]
    assert exchange.requests[-1].parameters["limit"] == "2"


def test_a_cut_and_a_silence(exchange: SimulatedExchange) -> None:
    exchange.fail(Cut(0.5))
    with pytest.raises(http.client.IncompleteRead):
        klines(exchange)
    exchange.fail(NoAnswer())
    with pytest.raises(TimeoutError):
        klines(exchange, timeout=0.2)


def test_pages_are_short_repeated_and_unsorted(exchange: SimulatedExchange) -> None:
    right = klines(exchange, startTime=START_MS, limit=10)
    for fault in (ShortPage(4), Altered(doubled), Altered(shuffled)):
        exchange.fail(fault)
    assert klines(exchange, startTime=START_MS, limit=10) == right[:4]
    assert klines(exchange, startTime=START_MS, limit=10) == [row for row in right for _ in range(2)]
    mixed = klines(exchange, startTime=START_MS, limit=10)
    assert mixed != right
    assert sorted(mixed) == right


def test_outages_last_until_the_exchange_recovers(exchange: SimulatedExchange) -> None:
    dark = Span(START + 5 * MINUTE, START + 7 * MINUTE)
    exchange.begin(Outage(dark, status=None))
    assert len(klines(exchange, startTime=START_MS, limit=10)) == 8
    exchange.begin(Outage(dark, status=503))
    for _ in range(2):
        with pytest.raises(urllib.error.HTTPError, match="503") as down:
            klines(exchange, startTime=START_MS, limit=10)
        down.value.close()
    assert len(klines(exchange, startTime=START_MS, limit=5)) == 5
    exchange.recover()
    assert len(klines(exchange, startTime=START_MS, limit=10)) == 10


def test_it_tells_what_is_listed_and_what_time_it_is(exchange: SimulatedExchange) -> None:
    info = get(exchange, "/api/v3/exchangeInfo")
    assert [listing["symbol"] for listing in info["symbols"]] == ["BTCUSDT", "ETHUSDT"]
    assert get(exchange, "/fapi/v1/exchangeInfo")["symbols"] == []
    assert get(exchange, "/api/v3/time") == {"serverTime": NOW // 10**6}
    assert get(exchange, "/api/v3/ping") == {}
    with pytest.raises(urllib.error.HTTPError, match="404") as missing:
        get(exchange, "/api/v3/nothing")
    missing.value.close()


def test_it_starts_stops_and_leaves_nothing_behind() -> None:
    before = running()
    exchange = SimulatedExchange()
    with pytest.raises(InvalidRequestError, match="not running"):
        _ = exchange.url
    with exchange:
        port = int(exchange.url.rpartition(":")[2])
        with pytest.raises(OSError, match=str(port)):
            SimulatedExchange(port=port).start()
        exchange.fail(NoAnswer())
        hanging = threading.Thread(target=lambda: hang(exchange))
        hanging.start()
        while not exchange.requests:
            threading.Event().wait(0.001)
    hanging.join(timeout=60)
    assert not hanging.is_alive()
    assert running() == before
    exchange.close()


def hang(exchange: SimulatedExchange) -> None:
    with suppress(OSError, http.client.HTTPException):  # closed without a word
        klines(exchange)


def running() -> int:
    return sum(thread.name == "simulated-exchange" for thread in threading.enumerate())


def test_it_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "qmtl.runtime.testing.exchange", "--symbols", "A/B"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        url = program.stdout.readline().strip()
        with urllib.request.urlopen(
            f"{url}/api/v3/klines?symbol=AB&interval=1h&limit=2", timeout=60
        ) as answer:
            assert len(json.load(answer)) == 2
        program.terminate()
