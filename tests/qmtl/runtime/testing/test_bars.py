"""The made-up market is the same however it is cut, and looks like a market."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.foundation.facts import Anchor
from qmtl.foundation.frames import BAR_SCHEMA, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId, Timeframe
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE, SECOND, to_ns
from qmtl.runtime.testing import synthetic_bars

MINUTES = SeriesId.parse("ohlcv:binance:BTC/USDT:1m")
WEEK = Span(to_ns("2023-12-28"), to_ns("2024-01-04"))
WHOLE = synthetic_bars(MINUTES, WEEK)


def test_bars_are_complete_sorted_and_possible() -> None:
    assert WHOLE.schema == BAR_SCHEMA
    assert stamps(WHOLE).tolist() == list(range(WEEK.start, WEEK.end, MINUTE))
    prices = WHOLE.select("open", "high", "low", "close").to_numpy()
    assert (prices > 0).all()
    assert (prices[:, 1] == prices.max(axis=1)).all()
    assert (prices[:, 2] == prices.min(axis=1)).all()
    assert (WHOLE["volume"] > 0).all()
    assert (WHOLE["open"][1:] == WHOLE["close"][:-1]).all()


def test_every_price_is_the_float_that_its_two_decimals_read_as() -> None:
    assert all(float(f"{price:.2f}") == price for price in WHOLE["close"].to_list())
    assert all(float(f"{volume:.3f}") == volume for volume in WHOLE["volume"].to_list())


@settings(deadline=None)
@given(st.integers(0, WEEK.length), st.integers(0, 2 * DAY))
def test_any_sub_range_holds_the_same_rows(offset: int, length: int) -> None:
    span = Span(WEEK.start + offset, min(WEEK.start + offset + length, WEEK.end))
    ts = stamps(WHOLE)
    assert synthetic_bars(MINUTES, span).equals(WHOLE.filter((ts >= span.start) & (ts < span.end)))


@pytest.mark.parametrize("timeframe", ["5m", "1h", "4h", "1d"])
def test_longer_timeframes_are_the_roll_up_of_the_minutes(timeframe: str) -> None:
    longer = synthetic_bars(f"ohlcv:binance:BTC/USDT:{timeframe}", WEEK)
    rolled = WHOLE.group_by_dynamic("ts", every=timeframe).agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        # Sums of floats depend on their order; the decimals do not.
        (pl.col("volume") * 1000).round().sum(),
    )
    assert longer.drop("volume").equals(rolled.drop("volume"))
    assert (longer["volume"].to_numpy() == rolled["volume"].to_numpy() / 1000).all()


def test_weeks_open_on_mondays_and_seconds_are_calm() -> None:
    weeks = synthetic_bars("ohlcv:binance:BTC/USDT:1w", Span(to_ns("2024-01-01"), to_ns("2024-03-01")))
    assert weeks.height == 9
    assert set(weeks["ts"].dt.weekday()) == {1}
    seconds = synthetic_bars("ohlcv:binance:BTC/USDT:1s", Span(WEEK.start, WEEK.start + HOUR))
    assert stamps(seconds).tolist() == list(range(WEEK.start, WEEK.start + HOUR, SECOND))
    moves = [frame["close"].log().diff()[1:].to_numpy().std() for frame in (seconds, WHOLE)]
    assert moves[0] < moves[1] / 5


def test_seed_and_symbol_make_other_markets() -> None:
    span = Span(WEEK.start, WEEK.start + HOUR)
    closes = [
        synthetic_bars(f"ohlcv:{venue}:{symbol}:1m", span, seed=seed)["close"].to_list()
        for venue, symbol, seed in [("a", "X", 0), ("b", "X", 0), ("a", "Y", 0), ("a", "X", 1)]
    ]
    assert closes[0] == closes[1]  # venues agree, as real ones nearly do
    assert closes[0] != closes[2]
    assert closes[0] != closes[3]


def test_moves_are_those_of_a_market() -> None:
    moves = synthetic_bars(MINUTES, Span(to_ns("2024-01-01"), to_ns("2024-07-01")))["close"].log().diff()[1:]
    per_minute = moves.to_numpy()
    assert 0.0005 < per_minute.std() < 0.0007
    assert np.abs(per_minute).max() < 0.005
    hours = per_minute[: len(per_minute) // 60 * 60].reshape(-1, 60).sum(axis=1)
    assert hours.std() == pytest.approx(per_minute.std() * np.sqrt(60), rel=0.1)  # a walk: roots of time


class Office:
    """Open from 09:30 to 12:15, every day."""

    def sessions(self, span: Span) -> Coverage:
        first = span.start // DAY
        opens = [day * DAY + 9 * HOUR + 30 * MINUTE for day in range(first, span.end // DAY + 1)]
        return Coverage((at, at + 2 * HOUR + 45 * MINUTE) for at in opens)


@pytest.mark.parametrize(("anchor", "bars_a_day"), [("clock", 4), ("session", 3)])
def test_a_grid_decides_which_bars_there_are(anchor: Anchor, bars_a_day: int) -> None:
    grid = Grid(Timeframe.parse("1h"), Office(), anchor)
    frame = synthetic_bars("ohlcv:binance:BTC/USDT:1h", WEEK, grid=grid)
    assert stamps(frame).tolist() == grid.stamps(grid.expected(WEEK)).tolist()
    assert frame.height == 7 * bars_a_day
    # Each bar tells of the minutes that it covers, wherever it opens.
    at = stamps(frame)[5]
    within = WHOLE.filter((stamps(WHOLE) >= at) & (stamps(WHOLE) < at + HOUR))
    row = frame.row(5, named=True)
    assert row["open"] == within["open"][0]
    assert row["high"] == within["high"].max()
    assert row["close"] == within["close"][-1]


def test_before_1970_and_an_empty_span() -> None:
    assert synthetic_bars("ohlcv:x:Y:1d", Span(to_ns("1969-12-25"), to_ns("1970-01-05"))).height == 11
    assert synthetic_bars(MINUTES, Span(WEEK.start, WEEK.start)).schema == BAR_SCHEMA
