"""Counts from an epoch are nanoseconds to the digit, whatever form the number has, or no time at all."""

from __future__ import annotations

from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.times import EARLIEST, LATEST
from qmtl.runtime.io.bar_files.epochs import UNITS, decimals, floats, integers, spreadsheet_days

DAY = 86_400 * 10**9


def of(expression: pl.Expr, value: object) -> int | None:
    found: int | None = pl.DataFrame({"x": [value]}).select(expression.alias("x"))["x"].item()
    return found


@pytest.mark.parametrize("unit", UNITS)
@given(data=st.data())
def test_whole_counts(unit: str, data: st.DataObject) -> None:
    last = LATEST // UNITS[unit]
    near_the_ends = st.integers(-3, 3).flatmap(lambda by: st.sampled_from([last + by, -last + by]))
    count = data.draw(st.one_of(st.integers(-(2**62), 2**62), near_the_ends.filter(lambda n: abs(n) < 2**63)))
    exact = count * UNITS[unit]
    assert of(integers(pl.col("x"), unit), count) == (exact if EARLIEST <= exact <= LATEST else None)


@given(st.sampled_from(["ns", "us", "ms", "s"]), st.decimals(-(10**12), 10**12, places=6), st.booleans())
def test_decimal_text_against_exact_arithmetic(unit: str, count: Decimal, scientific: bool) -> None:
    text = f"{count:e}" if scientific else f"{count:f}"
    exact = Decimal(text) * UNITS[unit]
    fits = exact == int(exact) and EARLIEST <= exact <= LATEST
    assert of(decimals(pl.col("x"), unit), text) == (int(exact) if fits else None)


@pytest.mark.parametrize(
    ("text", "unit", "ns"),
    [
        ("1325412060.0", "s", 1_325_412_060 * 10**9),
        ("1.3e9", "s", 1_300_000_000 * 10**9),
        ("0.000", "s", 0),
        ("1.5", "ns", None),  # finer than a nanosecond
        ("0x10", "s", None),
        ("1e99", "s", None),
    ],
)
def test_decimal_text(text: str, unit: str, ns: int | None) -> None:
    assert of(decimals(pl.col("x"), unit), text) == ns


def test_the_whole_part_of_a_float_is_exact() -> None:
    assert of(floats(pl.col("x"), "s"), 1_700_000_000.5) == 1_700_000_000_500_000_000
    assert of(floats(pl.col("x"), "ms"), -0.25) == -250_000
    for beyond in (float("nan"), float("inf"), 1e30):
        assert of(floats(pl.col("x"), "s"), beyond) is None


@pytest.mark.parametrize(
    ("days", "ns"),
    [
        (25_569.0, 0),  # 1970-01-01
        (45_292.5, 19_723 * DAY + DAY // 2),  # noon of 2024-01-01
        (60.0, None),  # the 29th of February 1900, which never was
        (61.0, -25_508 * DAY),  # 1900-03-01
    ],
)
def test_days_of_a_spreadsheet(days: float, ns: int | None) -> None:
    assert of(spreadsheet_days(pl.col("x")), days) == ns
