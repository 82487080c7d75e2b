"""Moves and wicks beyond the series' own range are warnings; those within it are not."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import PRICES, bars
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.times import DAY
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.thresholds import Thresholds

GRID = Grid(Timeframe.parse("1d"))
SPIKE, JUMP, SHIFT = "quality.price_spike", "quality.price_jump", "quality.level_shift"


def daily(deviation: float, count: int = 400, seed: int = 3) -> pl.DataFrame:
    """A walk of days whose closes move by so much (a standard deviation of logarithms)."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, deviation, count)))
    open_ = np.append(100.0, close[:-1])
    wicks = np.exp(np.abs(rng.normal(0, deviation / 2, (2, count))))
    prices = {
        "open": open_,
        "high": np.maximum(open_, close) * wicks[0],
        "low": np.minimum(open_, close) / wicks[1],
        "close": close,
    }
    return bars((10_000 + np.arange(count)) * DAY, {**prices, "volume": rng.exponential(1.0, count)})


def times(frame: pl.DataFrame, rows: range, factor: float, names: tuple[str, ...] = PRICES) -> pl.DataFrame:
    here = pl.int_range(pl.len()).is_between(rows.start, rows.stop - 1)
    return frame.with_columns(
        pl.when(here).then(pl.col(name) * factor).otherwise(name).alias(name) for name in names
    )


def without(frame: pl.DataFrame, rows: range) -> pl.DataFrame:
    return frame.filter(~pl.int_range(pl.len()).is_between(rows.start, rows.stop - 1))


def found(frame: pl.DataFrame, limits: Thresholds | None = None) -> dict[str, list[int]]:
    """Rule to the days (counted from the first) that it flags; silences are left out."""
    flags = ConformancePipeline(limits or Thresholds()).flag(frame, grid=GRID, facts=SeriesFacts())
    return {
        r: (flags.stamps(r) // DAY - 10_000).tolist() for r in (SPIKE, JUMP, SHIFT) if len(flags.stamps(r))
    }


@pytest.mark.parametrize("deviation", [0.001, 0.01, 0.02, 0.05, 0.08])
def test_a_market_of_any_range_raises_nothing(deviation: float) -> None:
    for seed in range(20):
        assert found(daily(deviation, seed=seed)) == {}


@pytest.mark.parametrize("factor", [10, 28, 178, 1_133, 0.1, 0.001])
@pytest.mark.parametrize("deviation", [0.001, 0.02, 0.08, 0.2])
def test_a_jump_of_ten_times_is_a_warning_in_any_series(deviation: float, factor: float) -> None:
    assert JUMP in found(times(daily(deviation), range(200, 400), factor))
    assert found(times(daily(deviation), range(200, 400), factor))[JUMP] == [200]


def test_a_plausible_move_is_worth_knowing_and_a_like_one_of_a_calm_series_a_warning() -> None:
    calm, wild = (times(daily(deviation), range(200, 400), 1.9) for deviation in (0.02, 0.1))
    assert found(calm) == {JUMP: [200]}
    assert found(wild).get(JUMP) is None
    assert 200 in found(wild)[SHIFT]


@pytest.mark.parametrize("hole", [1, 20, 300])
@pytest.mark.parametrize("settled", [1, 3, 100])
def test_a_ticker_that_is_used_again_is_a_jump_over_the_hole(hole: int, settled: int) -> None:
    """178 times, also where the price had fallen just before the hole, and what is behind it is short."""
    frame = times(daily(0.03, count=500 + hole), range(400 - settled, 400), 0.01)
    frame = without(times(frame, range(400 + hole, 500 + hole), 1.78), range(400, 400 + hole))
    names = found(frame)
    assert 400 - settled in [*names.get(JUMP, []), *names.get(SPIKE, [])]
    if hole >= 8 or settled == 100:
        assert 400 + hole in names[JUMP]
        assert found(frame[: 400 + 2])[JUMP][-1] == 400 + hole


def test_a_price_may_wander_over_a_hole_as_a_random_walk_does() -> None:
    """Four times the price within a day is a jump, over two years it is none; 178 times always is one."""

    def moved(factor: float, first: int) -> pl.DataFrame:
        frame = daily(0.03, count=1_000)
        return times(frame, range(850, 1_000), factor * frame["close"][first] / frame["close"][850])

    assert found(moved(4, 849)) == {JUMP: [850]}
    assert found(without(moved(4, 119), range(120, 850))) == {SHIFT: [850]}
    assert found(without(moved(178, 119), range(120, 850))) == {JUMP: [850]}


@pytest.mark.parametrize(
    ("deviation", "factor"), [(0.01, 0.5), (0.02, 0.5), (0.04, 0.5), (0.01, 0.7), (0.1, 0.1), (0.05, 2.0)]
)
def test_a_far_wick_need_only_stand_out(deviation: float, factor: float) -> None:
    name = "low" if factor < 1 else "high"
    for row in range(100, 300, 10):
        assert found(times(daily(deviation), range(row, row + 1), factor, (name,)))[SPIKE] == [row]


def test_a_crash_with_wild_days_beside_it_is_no_spike() -> None:
    frame = times(daily(0.02), range(200, 201), 0.66, ("low",))
    assert found(frame) == {SPIKE: [200]}
    beside = times(times(frame, range(199, 200), 1.15, ("high",)), range(202, 203), 0.8, ("low",))
    assert SPIKE not in found(beside)


def test_a_visit_is_one_spike_and_its_way_back_none() -> None:
    assert found(times(daily(0.02), range(200, 203), 10)) == {SPIKE: [200]}
    # If it does not come back to where it was, the rest of the way is a move of its own.
    astray = times(times(daily(0.02), range(200, 400), 10), range(203, 400), 0.3)
    assert found(astray) == {SPIKE: [200], SHIFT: [203]}


def test_with_few_bars_around_only_what_is_never_plausible_is_found() -> None:
    few = daily(0.02, count=6)
    assert found(times(few, range(3, 4), 0.5, ("low",))) == {}
    assert found(times(few, range(3, 4), 0.05, ("low",))) == {SPIKE: [3]}
    assert found(times(few, range(3, 6), 178)) == {JUMP: [3]}
