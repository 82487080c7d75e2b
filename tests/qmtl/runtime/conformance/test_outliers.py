"""Spikes, jumps and loud volumes, against plain loops over the bars."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.foundation.frames import bars
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.times import MINUTE
from qmtl.runtime.conformance.context_window import NEIGHBOURS, ContextWindow
from qmtl.runtime.conformance.outliers import candidates, jumps, spikes, volume_spikes
from qmtl.runtime.conformance.rules import LEVEL_SHIFT, PRICE_JUMP, PRICE_SPIKE
from qmtl.runtime.conformance.thresholds import DEFAULT_THRESHOLDS as LIMITS

GRID = Grid(Timeframe.parse("1m"))

# open, high, low, close, volume
Bar = tuple[float, float, float, float, float]


def make_window(market: Sequence[Bar], first: int = 0, last: int | None = None) -> ContextWindow:
    columns = np.array(market, dtype=np.float64).T
    names = ("open", "high", "low", "close", "volume")
    frame = bars(np.arange(len(market), dtype=np.int64) * MINUTE, dict(zip(names, columns, strict=True)))
    return ContextWindow(frame, GRID, first, len(market) if last is None else last)


def quiet(count: int, *, level: float = 100.0, width: float = 0.002, volume: float = 5.0) -> list[Bar]:
    """Bars at one level that reach a fifth of a percent around it."""
    return [(level, level * (1 + width), level * (1 - width), level, volume)] * count


def flagged(market: Sequence[Bar]) -> dict[str, list[int]]:
    """Minutes that each rule of this module names."""
    window = make_window(market)
    odd = candidates(window, LIMITS)
    found = {PRICE_SPIKE: [spikes(window, odd.spikes, LIMITS)]}
    for rule, ts in jumps(window, odd.jumps, window.missing, LIMITS).items():
        found.setdefault(rule, []).append(ts)
    found["volume"] = [volume_spikes(window, odd.volumes, LIMITS)]
    named = {
        rule: sorted({t // MINUTE for ts in parts for t in ts.tolist()}) for rule, parts in found.items()
    }
    return {rule: rows for rule, rows in named.items() if rows}


@st.composite
def markets(draw: st.DrawFn) -> list[Bar]:
    """Quiet bars with a few wild ones among them."""
    count = draw(st.integers(1, 150))
    market, level = [], 100.0
    wild = draw(st.sets(st.integers(0, count - 1), max_size=5))
    for row in range(count):
        if row in wild:
            level *= draw(st.sampled_from([1.0, 1.06, 1.5, 2.5, 0.4]))
        width = draw(st.sampled_from([0.002, 0.1, 0.6])) if row in wild else 0.002
        volume = draw(st.sampled_from([5.0, 99.0, 101.0, 500.0])) if row in wild else 5.0
        market.append((level, level * (1 + width), level * (1 - width), level, volume))
    return market


def reach_of(market: Sequence[Bar], row: int) -> float:
    """How far a bar reaches beyond the close before and the open after it."""
    open_, high, low, close, _ = market[row]
    before = market[row - 1][3] if row else open_
    after = market[row + 1][0] if row + 1 < len(market) else close
    return max(math.log(min(before, after)) - math.log(low), math.log(high) - math.log(max(before, after)))


def explained(market: Sequence[Bar], row: int) -> float:
    """What the true ranges of the bars around make plausible."""
    around = {}
    for other in range(max(row - NEIGHBOURS, 0), min(row + NEIGHBOURS, len(market) - 1) + 1):
        if other in (row, row + 1):  # the bar after it has it as its close before
            continue
        _, high, low, _, _ = market[other]
        before = market[max(other - 1, 0)][3]
        around[other] = math.log(max(high, before)) - math.log(min(low, before))
    ranges = sorted(around.values())
    usual = large = math.inf
    if len(ranges) >= LIMITS.spike_rows:
        usual, large = ranges[len(ranges) // 2], ranges[len(ranges) * 9 // 10]
    near = max([0.0, *(value for other, value in around.items() if abs(other - row) <= 4)])
    small = max(usual * LIMITS.spike_times_usual, large * LIMITS.spike_times_large)
    far = max(
        usual * LIMITS.far_times_usual,
        large * LIMITS.far_times_large,
        near * LIMITS.far_times_near,
        LIMITS.far_least,
    )
    return min(small, far, LIMITS.far_always)


@settings(max_examples=50)
@given(markets())
def test_spikes_against_a_loop_over_the_bars(market: list[Bar]) -> None:
    window = make_window(market)
    found = spikes(window, candidates(window, LIMITS).spikes, LIMITS)
    expected = [
        row
        for row in range(len(market))
        if reach_of(market, row) > LIMITS.spike_least and reach_of(market, row) > explained(market, row)
    ]
    assert (found // MINUTE).tolist() == expected


@settings(max_examples=50)
@given(markets())
def test_loud_volumes_against_a_loop_over_the_bars(market: list[Bar]) -> None:
    volumes = [bar[4] for bar in market]
    expected = []
    for row, volume in enumerate(volumes):
        others = [*volumes[max(row - NEIGHBOURS, 0) : row], *volumes[row + 1 : row + 1 + NEIGHBOURS]]
        # The first bar has none before it to stand out from.
        if row and len(others) >= LIMITS.spike_rows and volume > LIMITS.volume_times * max(others):
            expected.append(row)
    window = make_window(market)
    found = volume_spikes(window, candidates(window, LIMITS).volumes, LIMITS)
    assert (found // MINUTE).tolist() == expected


@settings(max_examples=50)
@given(markets())
def test_every_bar_that_stands_out_is_a_candidate(market: list[Bar]) -> None:
    odd = candidates(make_window(market), LIMITS)
    spiking = [row for row in range(len(market)) if reach_of(market, row) > LIMITS.spike_least]
    closes = [bar[3] for bar in market]
    jumping = [
        row
        for row in range(1, len(market))
        if abs(math.log(closes[row] / closes[row - 1])) > LIMITS.shift_least
    ]
    assert odd.spikes.tolist() == spiking
    assert odd.jumps.tolist() == jumping


def test_one_wick_is_a_spike_and_a_quiet_market_has_none() -> None:
    market = quiet(100)
    assert flagged(market) == {}
    market[50] = (100.0, 150.0, 99.8, 100.0, 5.0)
    assert flagged(market) == {PRICE_SPIKE: [50]}


def test_a_wick_below_five_percent_is_none_whatever_lies_around() -> None:
    market = quiet(100, width=0.0005)
    market[50] = (100.0, 105.0, 99.8, 100.0, 5.0)  # ln 1.05 = 0.0488
    assert flagged(market) == {}
    market[50] = (100.0, 105.2, 99.8, 100.0, 5.0)  # ln 1.052 = 0.0507
    assert flagged(market) == {PRICE_SPIKE: [50]}


def test_a_wild_market_may_be_wild() -> None:
    market = quiet(100, width=0.03)
    market[50] = (100.0, 130.0, 97.0, 100.0, 5.0)
    assert flagged(market) == {}


@pytest.mark.parametrize(
    ("factor", "rule"),
    [
        (1.4, None),  # ln 1.4 = 0.34 is below a shift
        (1.5, LEVEL_SHIFT),
        (1.6, LEVEL_SHIFT),  # 0.47
        (1.7, PRICE_JUMP),  # 0.53
        (0.5, PRICE_JUMP),
    ],
)
def test_a_level_that_changes_and_stays(factor: float, rule: str | None) -> None:
    market = [*quiet(70), *quiet(70, level=100.0 * factor)]
    assert flagged(market) == ({} if rule is None else {rule: [70]})


def test_a_close_that_comes_back_at_once_is_a_spike_of_its_own_bar() -> None:
    market = quiet(100)
    market[50] = (100.0, 201.0, 99.0, 200.0, 5.0)
    found = flagged(market)
    assert found[PRICE_SPIKE] == [50]
    assert LEVEL_SHIFT not in found


def test_over_a_hole_a_price_may_wander() -> None:
    """sqrt(1 + n) times as far: with 10,000 bars missing, 100 times five usual ranges of 0.004."""
    window = make_window([*quiet(70), *quiet(70, level=250.0)])
    odd = candidates(window, LIMITS)
    near, far = window.missing.copy(), window.missing.copy()
    far[69] = 10_000
    assert jumps(window, odd.jumps, near, LIMITS)[PRICE_JUMP].tolist() == [70 * MINUTE]
    assert jumps(window, odd.jumps, far, LIMITS)[PRICE_JUMP].tolist() == []
    assert jumps(window, odd.jumps, far, LIMITS)[LEVEL_SHIFT].tolist() == [70 * MINUTE]


def test_only_judged_rows_are_named() -> None:
    market = quiet(100)
    market[50] = (100.0, 150.0, 99.8, 100.0, 500.0)
    for first, last, named in ((50, 51, [50 * MINUTE]), (0, 50, []), (51, 100, [])):
        window = make_window(market, first, last)
        odd = candidates(window, LIMITS)
        assert spikes(window, odd.spikes, LIMITS).tolist() == named
        assert volume_spikes(window, odd.volumes, LIMITS).tolist() == named


def test_prices_of_zero_and_less_have_no_ratios() -> None:
    market = quiet(60)
    market[30] = (-1.0, 1.0, -2.0, -1.0, 5.0)
    with np.errstate(all="raise"):
        found = flagged(market)
    assert 30 not in found.get(PRICE_JUMP, [])
