"""What tells instruments apart; and how stamps and numbers are read to the last digit."""

from __future__ import annotations

from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.series import SeriesId
from qmtl.foundation.times import EARLIEST, LATEST
from qmtl.runtime.io.bar_files.epochs import UNITS, decimals
from qmtl.runtime.io.bar_files.identity import contradicts, identifies_series
from qmtl.runtime.io.bar_files.numbers import number_of
from qmtl.runtime.io.bar_files.options import Reading


@pytest.mark.parametrize(
    ("column", "values", "rows", "expected"),
    [
        ("ticker", ["A", "AA"], 2, True),
        ("<TICKER>", ["AAPL.US", "MSFT.US"], 100, True),
        ("Symbol", ["BTCUSDT"], 100, False),
        ("instrument_id", ["5602", "118"], 100, True),
        ("publisher_id", ["1", "2"], 100, True),
        ("timeframe", ["60", "300"], 100, True),
        ("<PER>", ["5", "D"], 100, True),
        ("adjusted", ["true", "false"], 100, True),
        ("Name", [f"S{n}" for n in range(500)], 5000, True),
        ("desk", ["London", "Tokyo"], 100, True),
        ("weekday", ["Mon", "Tue", "Wed"], 100, True),  # a text with few values; `weekday=*` allows it
        ("Trade Date", ["04-Mar-2024", "05-Mar-2024"], 100, False),
        ("vwap", ["1.5", "1.6"], 100, False),
        ("count", ["3", "4"], 100, False),
        ("quote_volume", ["1", "2"], 100, False),
        ("Change %", ["0.10%", "-0.5%"], 100, False),
        ("Dividends", ["$0.24", "0"], 100, False),
        ("closing", ["15:00", "16:00"], 100, False),
        ("complete", ["true", "false"], 100, False),
        ("remark", [f"note {n} of it" for n in "abc"], 3, False),  # none is there twice
        ("remark", [f"n{n}" for n in range(1001)], 10**6, False),
    ],
)
def test_what_tells_series_apart(column: str, values: list[str], rows: int, expected: bool) -> None:
    assert identifies_series(column, values, rows) is expected


@pytest.mark.parametrize(
    ("column", "value", "series", "expected"),
    [
        ("Symbol", "BTCUSDT", "ohlcv:x:BTC/USDT:1m", False),
        ("Symbol", "ETHUSDT", "ohlcv:x:BTC/USDT:1m", True),
        ("<TICKER>", "AAPL.US", "ohlcv:x:AAPL:1d", False),
        ("ticker", "AA", "ohlcv:x:MSFT:1d", True),
        ("instrument_id", "5602", "ohlcv:x:ESH4:1m", False),
        ("Name", "Alcoa Corporation", "ohlcv:x:AA:1d", False),
        ("<PER>", "D", "ohlcv:x:AAPL:1d", False),
        ("<PER>", "D", "ohlcv:x:AAPL:5m", True),
        ("<PER>", "5", "ohlcv:x:AAPL:5m", False),
        ("timeframe", "60", "ohlcv:x:AAPL:1h", False),
        ("timeframe", "60", "ohlcv:x:AAPL:1m", False),
        ("timeframe", "60", "ohlcv:x:AAPL:1d", True),
        ("interval", "1hour", "ohlcv:x:AAPL:1h", False),
        ("interval", "M5", "ohlcv:x:AAPL:1h", True),
        ("exchange", "NASDAQ", "ohlcv:mine:AAPL:1d", False),
        ("ticker", "", "ohlcv:x:MSFT:1d", False),
    ],
)
def test_what_contradicts_a_series(column: str, value: str, series: str, expected: bool) -> None:
    assert contradicts(column, value, SeriesId.parse(series)) is expected


digits = st.from_regex(r"[+-]?[0-9]{1,12}(\.[0-9]{0,10})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)


@given(digits, st.sampled_from(["s", "ms", "us", "ns"]))
def test_counts_are_moved_and_never_rounded(text: str, unit: str) -> None:
    exact = Fraction(text) * UNITS[unit]
    expected = int(exact) if exact.denominator == 1 and EARLIEST <= exact <= LATEST else None
    assert pl.select(decimals(pl.lit(text), unit)).item() == expected


@given(
    st.integers(0, 10**9), st.integers(0, 9999), st.sampled_from(["", "K", "M", "B"]), st.sampled_from(".,"),
    st.booleans(),
)  # fmt: skip
def test_marks_and_endings_are_rounded_once(
    whole: int, cents: int, ending: str, decimal: str, grouped: bool
) -> None:
    thousands = "." if decimal == "," else ","
    power = {"": 0, "K": 3, "M": 6, "B": 9}[ending]
    shown = f"{whole:,}".replace(",", thousands) if grouped else str(whole)
    reading = Reading(decimal=decimal, thousands=thousands)
    text = f"{shown}{decimal}{cents:04d}{ending}"
    value = pl.select(number_of(pl.lit(text), reading, lenient=True)).item()
    assert value == float(f"{whole}.{cents:04d}e{power}")


@pytest.mark.parametrize("text", ["1,5", "12,34", "1,2345", "1.234,5", ",123", "1,234,5"])
def test_marks_at_odd_places_are_no_numbers(text: str) -> None:
    reading = Reading(thousands=",")
    assert pl.select(number_of(pl.lit(text), reading, lenient=True)).item() is None
