"""A flag depends on a bar, its 64 neighbours and its run, never on the range that was asked."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import PRICES, bars, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, HOUR
from qmtl.runtime.conformance import pipeline
from qmtl.runtime.conformance.pipeline import CONTEXT, ConformancePipeline

PIPELINE = ConformancePipeline()
FACTS = SeriesFacts()


class DayShift:
    """Every day, 08:00 to 18:00 UTC."""

    def sessions(self, span: Span) -> Coverage:
        days = range(span.start // DAY - 1, span.end // DAY + 2)
        return Coverage((day * DAY + 8 * HOUR, day * DAY + 18 * HOUR) for day in days)


GRIDS = [
    Grid(Timeframe.parse("1m")),
    Grid(Timeframe.parse("5m"), DayShift()),
    Grid(Timeframe.parse("5m"), DayShift(), anchor="session"),
]


def troubled(seed: int, grid: Grid, count: int = 1500) -> pl.DataFrame:
    """A walk with faults of every kind, close enough together to disturb each other."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, count)))
    open_ = np.append(100.0, close[:-1])
    high, low = np.maximum(open_, close) * 1.0005, np.minimum(open_, close) * 0.9995
    volume = rng.exponential(1.0, count)
    prices = {"open": open_, "high": high, "low": low, "close": close}
    step = np.ones(count, dtype=np.int64)
    for _ in range(12):
        row, kind = int(rng.integers(count - 150)), int(rng.integers(8))
        run = slice(row, row + int(rng.integers(1, 140 if kind != 2 else 500)))
        if kind == 0:
            low[row] *= 0.5
        elif kind == 1:
            for name in PRICES:
                prices[name][row:] *= 2.0
        elif kind == 2:
            for name in PRICES:
                prices[name][run] = prices[name][row]
        elif kind == 3:
            for name in PRICES:
                prices[name][run] = close[row]
            volume[run] = 0.0
        elif kind == 4:
            step[row] = int(rng.integers(2, 300))
        elif kind == 5:
            step[run] = 5
        elif kind == 6:
            step[run] = rng.geometric(0.4, len(step[run]))
        else:
            volume[row] *= 1e4
    ts = 4000 * DAY + np.cumsum(step) * grid.step
    return bars(ts, {**prices, "volume": volume})


def around(frame: pl.DataFrame, first: int, last: int, grid: Grid) -> pl.DataFrame:
    """The rows `[first, last)` with as many others as a reader of a store would read."""
    reach = PIPELINE.max_context if PIPELINE.needs_more_context(frame, first, last, grid) else CONTEXT
    return frame[max(first - reach, 0) : min(last + reach, frame.height)]


@pytest.mark.parametrize("grid", GRIDS, ids=["always open", "calendar", "anchored"])
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 1500), st.integers(1, 700))
def test_a_part_with_context_is_flagged_as_in_the_whole(
    grid: Grid, seed: int, first: int, count: int
) -> None:
    frame = troubled(seed, grid)
    whole = PIPELINE.flag(frame, grid=grid, facts=FACTS)
    assert whole
    ts = stamps(frame)
    last = min(first + count, frame.height)
    if first >= last:
        return
    # The range asked may begin and end within a gap.
    start = int(ts[first - 1]) + grid.step if first else int(ts[0])
    end = int(ts[last]) if last < frame.height else int(ts[-1]) + grid.step
    span = Span(min(start, end), end)
    part = PIPELINE.flag(around(frame, first, last, grid), grid=grid, facts=FACTS)
    assert part.clip(span) == whole.clip(span)


@pytest.mark.parametrize("grid", GRIDS, ids=["always open", "calendar", "anchored"])
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 400), st.integers(1, 300), st.integers(0, 400))
def test_a_feed_that_died_is_flagged_alike_in_every_range(
    grid: Grid, seed: int, first: int, count: int, answered: int
) -> None:
    frame = troubled(seed, grid, count=400)
    ts = stamps(frame)
    end = int(ts[-1]) + grid.step
    behind = Coverage.of(Span(end, end + answered * grid.step))
    whole = PIPELINE.flag(frame, grid=grid, facts=FACTS, answered_behind=behind)
    assert whole.clip(Span(int(ts[0]), end)) == PIPELINE.flag(frame, grid=grid, facts=FACTS)
    # The range begins at a row, or within the silence, and ends within the silence.
    start = int(ts[first]) if first < frame.height else end
    span = Span(start, end + min(count, max(answered, 1)) * grid.step)
    rows = around(frame, first, frame.height, grid)
    part = PIPELINE.flag(rows, grid=grid, facts=FACTS, answered_behind=behind)
    assert part.clip(span) == whole.clip(span)


def test_blocks_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(5):
        for grid in GRIDS:
            frame = troubled(seed, grid)
            end = int(stamps(frame)[-1]) + grid.step
            behind = Coverage.of(Span(end, end + DAY))
            whole = PIPELINE.flag(frame, grid=grid, facts=FACTS, answered_behind=behind)
            with monkeypatch.context() as patch:
                patch.setattr(pipeline, "_BLOCK_ROWS", 137)
                assert PIPELINE.flag(frame, grid=grid, facts=FACTS, answered_behind=behind) == whole


def test_every_rule_of_this_kind_is_exercised() -> None:
    seen: set[str] = set()
    for seed in range(20):
        seen |= set(PIPELINE.flag(troubled(seed, GRIDS[0]), grid=GRIDS[0], facts=FACTS).rules())
    assert seen >= {
        "quality.price_jump",
        "quality.price_spike",
        "quality.stale_run",
        "quality.volume_spike",
        "quality.zero_volume_padding",
        "temporal.other_timeframe",
        "temporal.silence",
    }
