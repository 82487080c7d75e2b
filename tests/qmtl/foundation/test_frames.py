"""What a frame of bars looks like, and how it is made from arrays and read as one."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.frames import BAR_SCHEMA, PRICES, TS, VALUES, bars, empty_bars, stamps
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
