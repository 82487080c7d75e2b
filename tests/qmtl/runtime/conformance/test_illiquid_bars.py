"""Illiquid bars: holes, flat runs, padding and jumps, where cheap looks prove most rules empty."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import PRICES, bars, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.times import DAY
from qmtl.runtime.conformance import rhythm, runs
from qmtl.runtime.conformance.context_window import CONTEXT, NEIGHBOURS, ContextWindow
from qmtl.runtime.conformance.outliers import candidates, volume_spikes
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.thresholds import DEFAULT_THRESHOLDS as LIMITS

GRID = Grid(Timeframe.parse("1m"))


def illiquid(seed: int) -> pl.DataFrame:
    """Minutes of a market that few trade in, with a few faults."""
    rng = np.random.default_rng(seed)
    count = int(rng.choice([1, 5, 31, 33, 63, 64, 65, 129, 400, 900]))
    moves = rng.normal(0, rng.choice([1e-4, 1e-3, 1e-2]), count) * (rng.random(count) < rng.choice([0.05, 1]))
    close = np.round(100 * np.exp(np.cumsum(moves)), 2)
    open_ = np.append(close[:1], close[:-1])
    width = rng.choice([0, 5e-4])
    prices = {
        "open": open_,
        "high": np.maximum(open_, close) * (1 + width),
        "low": np.minimum(open_, close) * (1 - width),
        "close": close,
    }
    volume = rng.lognormal(0, rng.choice([0.3, 2.0, 4.0]), count)
    volume[rng.random(count) < rng.choice([0.0, 0.2])] = 0.0
    steps = rng.geometric(rng.choice([1.0, 0.9, 0.6, 0.3]), count)
    for _ in range(int(rng.integers(8))):
        row = int(rng.integers(count))
        run = slice(row, row + int(rng.integers(1, 150)))
        match rng.choice(["stuck", "padded", "hole", "loud", "jump"]):
            case "stuck" | "padded" as kind:
                for name in PRICES:
                    prices[name][run] = close[row]
                if kind == "padded":
                    volume[run] = 0.0
            case "hole":
                steps[row] = int(rng.integers(2, 60))
            case "loud":
                volume[row] *= rng.choice([30, 1e4])
            case _:
                for name in PRICES:
                    prices[name][row:] *= 2.0
    return bars(4000 * DAY + np.cumsum(steps) * GRID.step, {**prices, "volume": volume})


def window_of(frame: pl.DataFrame) -> ContextWindow:
    return ContextWindow(frame, GRID, 0, frame.height)


def rows_of(frame: pl.DataFrame, ts: np.ndarray) -> list[int]:
    return np.searchsorted(stamps(frame), ts).tolist()


frames = st.integers(0, 100_000).map(illiquid)
many = settings(max_examples=150, deadline=None)


@many
@given(frames)
def test_loud_volumes_against_a_look_at_all_neighbours(frame: pl.DataFrame) -> None:
    volumes = frame["volume"].to_list()
    expected = []
    for row in range(1, len(volumes)):
        others = [*volumes[max(row - NEIGHBOURS, 0) : row], *volumes[row + 1 : row + 1 + NEIGHBOURS]]
        loudest = max(others)
        if len(others) >= LIMITS.spike_rows and 0 < LIMITS.volume_times * loudest < volumes[row]:
            expected.append(row)
    window = window_of(frame)
    found = volume_spikes(window, candidates(window, LIMITS).volumes, LIMITS)
    assert rows_of(frame, found) == expected


@many
@given(frames)
def test_made_up_bars_against_a_count_around_each(frame: pl.DataFrame) -> None:
    made_up = [v == 0 and o == h == low == c for _, o, h, low, c, v in frame.rows()]
    expected = []
    for row in range(len(made_up)):
        around = made_up[max(row - NEIGHBOURS, 0) : row + NEIGHBOURS + 1]
        enough = len(around) >= LIMITS.padded_rows
        if made_up[row] and enough and sum(around) >= LIMITS.padded_share * len(around):
            expected.append(row)
    assert rows_of(frame, runs.padded_bars(window_of(frame), LIMITS)) == expected


@many
@given(frames)
def test_silences_against_a_walk_over_the_gaps(frame: pl.DataFrame) -> None:
    minutes = (stamps(frame) // GRID.step).tolist()
    gaps = [after - before - 1 for before, after in itertools.pairwise(minutes)]
    implausible, unchecked = [], []
    for row, gap in enumerate(gaps):
        if gap < 2:
            continue
        before = gaps[max(row - CONTEXT + 1, 0) : row], min(row + 1, CONTEXT)
        after = gaps[row + 1 : row + CONTEXT], min(len(gaps) - row, CONTEXT)
        shares = [
            (sum(missing) + 1) / (rows + sum(missing) + 2)
            for missing, rows in (before, after)
            if rows >= LIMITS.silence_rows
        ]
        if not shares:
            unchecked.append(row)
            continue
        others = gaps[max(row - NEIGHBOURS, 0) : row] + gaps[row + 1 : row + 1 + NEIGHBOURS]
        third = sorted([0, 0, 0, *others])[-3]
        if gap * np.log(max(shares)) < np.log(LIMITS.silence_chance) and gap >= 4 * third:
            implausible.append(row)
    found = rhythm.silences(window_of(frame), LIMITS)
    starts = stamps(frame) + GRID.step
    assert found.implausible.starts.tolist() == [int(starts[row]) for row in implausible]
    assert found.unchecked.starts.tolist() == [int(starts[row]) for row in unchecked]


@many
@given(frames)
def test_a_run_that_is_always_implausible_is_found(frame: pl.DataFrame) -> None:
    """Each stuck run whose surroundings are too few to explain it, or which repeats nowhere else."""
    rows = frame.rows()
    repeats = [False] + [now[5] != 0 and now[1:5] == before[1:5] for before, now in itertools.pairwise(rows)]
    longest, run = 0, 0
    for repeated in repeats:
        run = run + 1 if repeated else 0
        longest = max(longest, run)
    found = runs.stale_runs(window_of(frame), LIMITS)
    assert len(found) == 0 or longest >= LIMITS.run_rows
    if longest >= LIMITS.run_rows and sum(repeats) == longest:
        assert len(found) >= longest


@pytest.mark.parametrize("odd", ["close", "volume"])
def test_a_value_that_is_no_number_hides_no_jump_of_other_bars(odd: str) -> None:
    count = 300
    level = np.where(np.arange(count) < 150, 1000.0, 100.0)
    columns = {name: level.copy() for name in PRICES} | {"volume": np.full(count, 5.0)}
    columns["high"][:] = columns["low"][:] = 100.0  # impossible bars: only the closes move
    columns[odd][10] = np.nan
    frame = bars(4000 * DAY + np.arange(count) * GRID.step, columns)
    flags = ConformancePipeline().flag(frame, grid=GRID, facts=SeriesFacts())
    assert rows_of(frame, flags.stamps("quality.price_jump")) == [150]


def test_bars_that_share_a_cell_raise_no_warning_of_arithmetic() -> None:
    """Two bars in one cell count as minus one missing, so that the share of missing bars may be zero."""
    minutes = np.array([*range(64), *range(80, 100)]) * GRID.step + 4000 * DAY
    ts = np.insert(minutes, 40, minutes[39] + 5)
    frame = bars(ts, dict.fromkeys((*PRICES, "volume"), np.ones(len(ts))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flags = ConformancePipeline().flag(frame, grid=GRID, facts=SeriesFacts())
    assert rows_of(frame, flags.stamps("temporal.off_grid")) == [40]
