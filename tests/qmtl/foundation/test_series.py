"""Node ids and timeframes: what can be read, what is refused and why, and how paths and addresses name it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import SeriesId, Timeframe
from qmtl.foundation.times import DAY, HOUR, MINUTE, SECOND, WEEK


@pytest.mark.parametrize(
    ("text", "step"),
    [("1s", SECOND), ("90s", 90 * SECOND), ("1m", MINUTE), ("4h", 4 * HOUR), ("1d", DAY), ("1w", WEEK)],
)
def test_a_timeframe_says_how_long_a_bar_lasts(text: str, step: int) -> None:
    timeframe = Timeframe.parse(text)
    assert (timeframe.text, timeframe.step, str(timeframe)) == (text, step, text)
    assert timeframe.is_intraday == (step < DAY)


@pytest.mark.parametrize(
    "text", ["", "1", "m", "0m", "01m", "7m", "1M", "24h", "2d", "2w", "1.5h", " 1m", "1m\n"]
)
def test_what_does_not_divide_a_day_is_no_timeframe(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="is not known"):
        Timeframe.parse(text)


def test_a_week_opens_on_monday_and_every_other_bar_counts_from_the_epoch() -> None:
    assert Timeframe.parse("1w").origin == 4 * DAY  # 1970-01-05, a Monday
    assert Timeframe.parse("1d").origin == 0


def test_the_symbol_is_everything_between_venue_and_timeframe() -> None:
    series = SeriesId.parse("ohlcv:binance:BTC/USDT:USDT:1m")
    assert (series.kind, series.venue, series.symbol) == ("ohlcv", "binance", "BTC/USDT:USDT")
    assert series.timeframe is Timeframe.parse("1m")
    assert str(series) == series.text == "ohlcv:binance:BTC/USDT:USDT:1m"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ohlcv:binance:1m", "fewer than four fields"),
        ("trades:binance:BTC/USDT:1m", "the kind 'trades' is not known"),
        ("ohlcv:bin ance:BTC/USDT:1m", "the venue 'bin ance'"),
        ("ohlcv::BTC/USDT:1m", "the venue ''"),
        ("ohlcv:binance::1m", "the symbol ''"),
        ("ohlcv:binance: A:1m", "is empty, padded"),
        ("ohlcv:binance:A\x00B:1m", "control characters"),
        ("ohlcv:binance:" + "é" * 101 + ":1m", "over 200 bytes"),
        ("ohlcv:binance:\udcff:1m", "is not text that UTF-8 can write"),
    ],
)
def test_a_node_id_that_cannot_be_read_says_which_field_is_wrong(text: str, why: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        SeriesId.parse(text)
    assert why in (caught.value.why or "")


def test_a_symbol_of_200_bytes_is_read() -> None:
    assert SeriesId.parse("ohlcv:x:" + "é" * 100 + ":1m").symbol == "é" * 100


def test_series_are_equal_by_their_text_alone() -> None:
    one, same = (
        SeriesId.parse("ohlcv:a:b:1m"),
        SeriesId("ohlcv", "a", "b", Timeframe.parse("1m"), "ohlcv:a:b:1m"),
    )
    assert one == same
    assert hash(one) == hash(same)
    assert one != SeriesId.parse("ohlcv:a:b:5m")
    assert one != one.text


@pytest.mark.parametrize(
    ("symbol", "encoded"),
    [("BTC/USDT", "BTC%2FUSDT"), ("..", "%2E%2E"), (".", "%2E"), ("a.b", "a.b"), ("%2F", "%252F")],
)
def test_a_symbol_in_a_path_never_leaves_its_folder(symbol: str, encoded: str) -> None:
    assert SeriesId.parse(f"ohlcv:x:{symbol}:1m").encoded_symbol == encoded


symbols = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=50
).filter(lambda text: text == text.strip())


@given(symbol=symbols)
def test_an_address_leads_back_to_its_series(symbol: str) -> None:
    series = SeriesId.parse(f"ohlcv:venue:{symbol}:1d")
    assert SeriesId.from_address(series.address) == series
    assert "/" not in series.encoded_symbol
    assert series.encoded_symbol not in {"", ".", ".."}


@pytest.mark.parametrize("address", ["", "qmtl://elsewhere/x", "ohlcv:a:b:1m"])
def test_what_is_no_address_is_refused(address: Any) -> None:
    with pytest.raises(InvalidRequestError, match="is not a report address"):
        SeriesId.from_address(address)
