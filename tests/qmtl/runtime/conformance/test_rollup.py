"""Rollups of parts merge into the rollup of the whole."""

from __future__ import annotations

import itertools
import json
from random import Random

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import VALUES, bars, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.states import bar_states
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.rollup import (
    Rollup,
    SchemaRollup,
    TemporalRollup,
    merge,
    merge_series,
    rollup,
    rollups,
)
from qmtl.runtime.testing.bars import synthetic_bars

GRID = Grid(Timeframe.parse("1m"))

numbers = st.one_of(st.none(), st.floats(-1e6, 1e6), st.just(float("nan")))
frames = st.lists(st.tuples(*[numbers] * 5), max_size=20).map(
    lambda rows: bars(
        np.arange(len(rows), dtype=np.int64) * MINUTE,
        {name: pl.Series(name, [row[i] for row in rows], dtype=pl.Float64) for i, name in enumerate(VALUES)},
    )
)


@settings(max_examples=150, deadline=None)
@given(frames, st.lists(st.integers(0, 20), max_size=4), st.randoms(use_true_random=False))
def test_parts_merge_into_the_whole_in_any_order(frame: pl.DataFrame, cuts: list[int], order: Random) -> None:
    edges = sorted({0, frame.height, *(cut for cut in cuts if cut <= frame.height)})
    parts = [rollup(frame[a:b]) for a, b in itertools.pairwise(edges)] or [rollup(frame)]
    whole = rollup(frame)
    order.shuffle(parts)
    assert merge(parts) == whole
    middle = len(parts) // 2
    assert merge(parts[:middle]) + merge(parts[middle:]) == merge(parts)
    assert whole + Rollup() == Rollup() + whole == whole


def test_states_and_flags_merge_too() -> None:
    frame = synthetic_bars("ohlcv:test:A/B:1m", Span(0, 3000 * MINUTE))
    number = pl.int_range(pl.len())
    frame = frame.with_columns(
        low=pl.when(number.is_in([500, 2500])).then(pl.col("low") / 3).otherwise("low")
    )
    frame = frame.filter(~number.is_between(1400, 1599))
    flags = ConformancePipeline().flag(frame, grid=GRID, facts=SeriesFacts())
    ts = stamps(frame)

    def part(first: int, last: int) -> Rollup:
        span = Span(first * MINUTE, last * MINUTE)
        inside = frame.filter(pl.Series(Coverage.of(span).holds(ts)))
        states = bar_states(span, GRID, stamps(inside), Coverage.of(span), EMPTY)
        return rollup(inside, states, flags.clip(span))

    whole = part(0, 3000)
    assert whole.quality.flags == {"quality.price_spike": 2, "temporal.silence": 200}
    assert whole.temporal.states == {"present": 2800, "no_trade": 200, "closed": 0, "absent": 0, "unknown": 0}
    assert part(0, 1500) + part(1500, 3000) == whole
    assert merge(part(a, a + 250) for a in range(0, 3000, 250)) == whole


def test_a_frame_of_many_symbols_is_rolled_up_per_series() -> None:
    ids = ["ohlcv:test:A/B:1m", "ohlcv:test:C/D:1m", "ohlcv:test:A/B:1h"]
    spans = [Span(0, 50 * MINUTE), Span(0, 20 * MINUTE), Span(0, 600 * MINUTE)]
    alone = {name: synthetic_bars(name, span) for name, span in zip(ids, spans, strict=True)}
    long = pl.concat(frame.with_columns(series=pl.lit(name)) for name, frame in alone.items())
    shuffled = long.sample(fraction=1.0, shuffle=True, seed=3)
    expected = {name: rollup(frame) for name, frame in alone.items()}
    assert rollups(shuffled) == expected
    assert merge_series(rollups(long[:60]), rollups(long[60:])) == expected
    assert merge_series() == {}


def test_a_rollup_knows_extremes_and_nulls() -> None:
    frame = synthetic_bars("ohlcv:test:A/B:1m", Span(0, 50 * MINUTE)).with_columns(
        volume=pl.when(pl.int_range(pl.len()) < 7).then(None).otherwise("volume")
    )
    result = rollup(frame)
    assert result.schema.nulls == {"open": 0, "high": 0, "low": 0, "close": 0, "volume": 7}
    assert result.schema.least["low"] == frame["low"].min()
    assert result.schema.greatest["high"] == frame["high"].max()
    assert result.temporal == TemporalRollup(50, 0, 49 * MINUTE)
    assert Rollup.from_json(json.loads(json.dumps(result.to_json()))) == result
    assert Rollup.from_json(Rollup().to_json()) == Rollup()
    assert SchemaRollup() + result.schema == result.schema
