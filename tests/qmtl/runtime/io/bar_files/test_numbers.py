"""Numbers are read by the marks that were declared; what has another mark is no number."""

from __future__ import annotations

import math
import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.runtime.io.bar_files.numbers import is_null, number_of
from qmtl.runtime.io.bar_files.options import Reading


def numbers(*texts: str, lenient: bool = False, **marks: str) -> list[float | None]:
    column = pl.DataFrame({"x": pl.Series(texts, dtype=pl.String)})
    return column.select(number_of(pl.col("x"), Reading(**marks), lenient=lenient).alias("x"))["x"].to_list()


@pytest.mark.parametrize(
    ("marks", "text", "value"),
    [
        ({}, " 1.5 ", 1.5),
        ({}, "1,5", None),
        ({"decimal": ","}, "1,5", 1.5),
        ({"decimal": ","}, "1.5", None),
        ({"thousands": ","}, "1,234,567.25", 1234567.25),
        ({"thousands": ","}, "12,34", None),  # a group has three digits
        ({"thousands": ","}, "1234", 1234.0),
        ({"thousands": " "}, "1\u00a0234\u202f567", 1234567.0),  # blanks that are not broken at
        ({"decimal": ",", "thousands": "."}, "-1.234,5", -1234.5),
        ({"decimal": ","}, "1,5e-3", 0.0015),
    ],
)
def test_a_mark_means_what_was_declared(marks: dict[str, str], text: str, value: float | None) -> None:
    assert numbers(text, **marks) == [value]


@pytest.mark.parametrize(
    ("text", "value"),
    [("$1.25", 1.25), ("-€3", -3.0), ("€-3", -3.0), ("2£", 2.0), ("60.32M", 60_320_000.0), ("1.5k", 1500.0)],
)
def test_money_and_powers_are_read_where_that_was_asked_for(text: str, value: float) -> None:
    assert numbers(text, lenient=True) == [value]
    assert numbers(text) == [None]


@pytest.mark.parametrize(
    "text",
    [
        *("1.2.3", "12 34", "1M2", "--1", "one"),
        *("", "-", "+", ".", "$", "e5", "K"),
    ],
)
def test_what_is_no_number_is_null(text: str) -> None:
    assert numbers(text, lenient=True) == [None]


def test_what_is_not_finite_is_left_to_the_rules() -> None:
    found = numbers("nan", "-Infinity", decimal=",")
    assert math.isnan(found[0] or 0.0)
    assert found[1] == -math.inf


@given(st.decimals(-(10**9), 10**9, places=4))
def test_as_python_reads_it_without_the_marks(number: object) -> None:
    whole, _, fraction = f"{number:,.4f}".partition(".")
    text = whole.replace(",", "'") + "," + fraction
    assert numbers(text, decimal=",", thousands="'") == [float(re.sub("'", "", text).replace(",", "."))]


@pytest.mark.parametrize(
    ("values", "words", "nulls"),
    [
        (["N/A", " - ", "1"], ("N/A", "-"), [True, True, False]),
        ([-1, 0, 5], ("-1", "-"), [True, False, False]),
        ([1.0, 1.5], ("1", "-"), [True, False]),
        ([1, 2], ("1.0",), [False, False]),  # a whole number is no decimal
    ],
)
def test_words_that_stand_for_no_value(
    values: list[object], words: tuple[str, ...], nulls: list[bool]
) -> None:
    frame = pl.DataFrame({"x": values})
    found = is_null(pl.col("x"), frame.schema["x"], words)
    assert found is not None
    assert frame.select(found)["x"].to_list() == nulls


def test_without_words_nothing_is_looked_for() -> None:
    assert is_null(pl.col("x"), pl.String(), ()) is None
    assert is_null(pl.col("x"), pl.Float64(), ("N/A",)) is None
    assert is_null(pl.col("x"), pl.Date(), ("N/A",)) is None
