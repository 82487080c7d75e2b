"""Frames of several series, one below the other and side by side, against polars' own joins."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from qmtl.foundation.frames import TS, bars
from qmtl.foundation.times import DAY, MINUTE
from qmtl.runtime.sdk.panel_frames import long_frame, wide_frame

# Minutes that start anywhere, hours, days, and a far one: few cells and many for each row.
times = st.one_of(
    st.integers(0, 40).map(lambda n: n * MINUTE + 7),
    st.integers(0, 10).map(lambda n: n * 60 * MINUTE),
    st.integers(-3, 3).map(lambda n: n * DAY),
    st.sampled_from([-(2**62), 2**62]),
)


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    ts = sorted(draw(st.sets(times, max_size=12)))
    values = draw(st.lists(st.one_of(st.none(), st.floats(0, 9)), min_size=len(ts), max_size=len(ts)))
    columns = pl.Series(values, dtype=pl.Float64)
    names = ("open", "high", "low", "close", "volume")
    return bars(np.array(ts, np.int64), dict.fromkeys(names, columns))


panels = st.lists(frames(), max_size=5).map(lambda every: {f"S{i}": one for i, one in enumerate(every)})


@given(panels)
def test_wide_is_a_full_join_over_time(panel: dict[str, pl.DataFrame]) -> None:
    joined = pl.DataFrame(schema={"ts": TS})
    for name, frame in panel.items():
        column = frame.select("ts", pl.col("volume").alias(name))
        joined = joined.join(column, on="ts", how="full", coalesce=True)
    assert_frame_equal(wide_frame(panel, "volume"), joined.sort("ts"), check_exact=True)


@given(panels.filter(bool))
def test_long_is_one_below_the_other(panel: dict[str, pl.DataFrame]) -> None:
    parts = [frame.select(pl.lit(name).alias("series"), pl.all()) for name, frame in panel.items()]
    assert_frame_equal(long_frame(panel), pl.concat(parts), check_exact=True)


@pytest.mark.parametrize(
    "panel",
    [
        {},
        {
            "A": bars(
                np.empty(0, np.int64), dict.fromkeys(("open", "high", "low", "close", "volume"), np.empty(0))
            )
        },
    ],
)
def test_no_row_at_all(panel: dict[str, pl.DataFrame]) -> None:
    assert wide_frame(panel, "close").schema == {"ts": TS} | dict.fromkeys(panel, pl.Float64())
    assert wide_frame(panel, "close").height == 0
    assert long_frame(panel).height == 0
