"""What a frame of bars looks like, and how it is made from arrays and read as one."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_series_equal

from qmtl.foundation import frames
from qmtl.foundation.frames import BAR_SCHEMA, PRICES, TS, VALUES, bars, column_of, empty_bars, stamps
from qmtl.foundation.times import EARLIEST, LATEST


def test_the_schema_has_a_time_and_five_numbers() -> None:
    assert list(BAR_SCHEMA) == ["ts", "open", "high", "low", "close", "volume"]
    assert BAR_SCHEMA["ts"] == pl.Datetime("ns", "UTC")
    assert {BAR_SCHEMA[name] for name in VALUES} == {pl.Float64()}
    assert (*PRICES, "volume") == VALUES


def test_no_bars_have_the_schema_and_are_the_callers_own() -> None:
    assert empty_bars().schema == BAR_SCHEMA
    assert empty_bars().height == 0
    assert empty_bars() is not empty_bars()


@given(st.lists(st.integers(EARLIEST, LATEST), unique=True, max_size=20))
def test_stamps_come_back_as_they_were_given(numbers: list[int]) -> None:
    ts = np.array(sorted(numbers), dtype=np.int64)
    values = {name: np.arange(len(ts), dtype=np.float64) + place for place, name in enumerate(VALUES)}
    frame = bars(ts, values)
    assert frame.schema == BAR_SCHEMA
    assert np.array_equal(stamps(frame), ts)
    assert stamps(frame).dtype == np.int64
    for name in VALUES:
        assert np.array_equal(frame[name].to_numpy(), values[name])


def test_a_missing_volume_is_null_where_a_series_says_so_and_nan_stays_nan() -> None:
    ones = np.ones(2)
    values = {**dict.fromkeys(PRICES, ones), "volume": pl.Series([None, 2.0])}
    assert bars(np.array([0, 1]), values)["volume"].to_list() == [None, 2.0]
    values["volume"] = np.array([np.nan, 2.0])
    assert bars(np.array([0, 1]), values)["volume"].null_count() == 0


def test_stamps_of_one_chunk_are_no_copy_and_of_several_are_whole() -> None:
    frame = pl.DataFrame({"ts": pl.Series([1, 2, 3], dtype=pl.Int64).cast(TS)})
    assert np.shares_memory(stamps(frame), stamps(frame))
    parts = pl.concat([frame, frame], rechunk=False)
    assert parts.n_chunks() == 2
    assert stamps(parts).tolist() == [1, 2, 3, 1, 2, 3]


INTEGERS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40)
FLOATS = st.lists(st.floats(width=64), max_size=40)


@given(INTEGERS, FLOATS)
def test_columns_are_those_of_polars(integers: list[int], floats: list[float]) -> None:
    for values in (np.array(integers, dtype=np.int64), np.array(floats, dtype=np.float64)):
        assert_series_equal(column_of("x", values), pl.Series("x", values), check_exact=True)


@given(FLOATS)
def test_nan_stays_nan(floats: list[float]) -> None:
    column = column_of("x", np.array([*floats, float("nan")]))
    assert column.null_count() == 0
    assert column.is_nan()[-1]


def test_the_memory_of_the_array_is_used_as_polars_uses_it() -> None:
    values = np.arange(3, dtype=np.float64)
    ours, theirs = column_of("x", values), pl.Series("x", values)
    values[0] = 9.0
    assert ours.to_list() == theirs.to_list()
    del values  # and is kept for as long as the column
    assert ours.to_list() == [9.0, 1.0, 2.0]


@pytest.mark.parametrize(
    "values",
    [
        np.arange(10, dtype=np.int64)[::2],
        np.arange(10, dtype=np.float64).reshape(5, 2)[:, 1],
        np.frombuffer(b"\0" + np.arange(4.0).tobytes(), dtype=np.float64, count=4, offset=1),
        np.arange(4, dtype=np.int32),
        np.arange(4).astype(">i8"),
    ],
    ids=["every other", "a column of rows", "not aligned", "another type", "other byte order"],
)
def test_other_arrays_are_left_to_polars(values: Any) -> None:
    assert_series_equal(column_of("x", values), pl.Series("x", values))


def test_this_polars_is_known() -> None:
    # Else each column takes the long way: look which names this version has.
    assert set(frames._MAKERS) == {np.dtype(np.int64), np.dtype(np.float64)}


def test_another_polars_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_MAKERS", {})
    assert column_of("x", np.arange(3)).to_list() == [0, 1, 2]
    monkeypatch.setattr(frames, "_WRAPPED", None)
    assert frames._makers() == {}
