"""Prices and volumes that their neighbours do not explain.

Candidates are found by one cheap look at a bar, the one before and the one after; only they are compared
with up to 63 bars on either side. What is plausible follows from the ranges of the series itself: one measure
for small excursions, of which real markets have many, and another for far ones, of which they have few.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qmtl.foundation.timeline import Int64Array
from qmtl.runtime.conformance.context_window import NEIGHBOURS, ContextWindow, Floats, Indexes, neighbours
from qmtl.runtime.conformance.rules import LEVEL_SHIFT, PRICE_JUMP, PRICE_SPIKE, Thresholds

# How many candidates are compared with their neighbours at a time: about 4 MB per matrix.
_BATCH_ROWS = 4096

# How many bars on either side count as nearest: in a crash some of them are wild.
_NEAREST_BARS = 4

# Over more rows than this prices mostly wander further apart than what makes a candidate.
_FEW_ROWS = 1 << 13

# The rows of a group and of the two beside it are all neighbours of each row of the group.
_GROUP_ROWS = (NEIGHBOURS + 1) // 2

# How many bars before and after a jump give the price level on that side (their median close).
_LEVEL_BARS = 8


class Candidates(NamedTuple):
    """Row numbers to compare with their neighbours, by the rule that they may break."""

    spikes: Indexes
    jumps: Indexes
    volumes: Indexes


def candidates(window: ContextWindow, thresholds: Thresholds) -> Candidates:
    """Rows that stand out from the one before: a necessary condition of each rule here, in few passes."""
    far = math.exp(min(thresholds.spike_least, thresholds.shift_least, thresholds.jump_least))
    open_, high, low, close, volume = window.columns.values()
    moved = np.zeros(0, dtype=np.intp)
    if not (len(low) <= _FEW_ROWS and _all_near(high, low, close, far)):
        moved = np.flatnonzero((low[1:] * far < close[:-1]) | (high[1:] > close[:-1] * far)) + 1
    # The first row has no close before it; its own open is used instead.
    if low[0] * far < open_[0] or high[0] > open_[0] * far:
        moved = np.insert(moved, 0, 0)
    spiking = jumping = moved
    if len(moved):
        spiking = moved[_excursion(window, moved) > thresholds.spike_least]
        jumping = moved[
            np.abs(_log_returns(close, moved)) > min(thresholds.shift_least, thresholds.jump_least)
        ]
    return Candidates(spiking, jumping, _loudest(volume, thresholds.volume_times))


def _all_near(high: Floats, low: Floats, close: Floats, far: float) -> bool:
    """Whether no two prices of all the bars are `far` times apart; then none is far from the close before."""
    near = min(np.minimum.reduce(low), np.minimum.reduce(close)) * far
    # False if any price is NaN.
    return bool(np.maximum.reduce(high) <= near and np.maximum.reduce(close) <= near)


def _loudest(volume: Floats, times: float) -> Indexes:
    """Rows whose volume is more than `times` all others in their group of rows and in the groups beside it.

    All of these rows are among the neighbours, so at most the largest volume of a group stands out. The first
    row has none before it to stand out from.
    """
    starts = np.arange(0, len(volume), _GROUP_ROWS)
    largest = np.maximum.reduceat(volume, starts)
    least = largest * times
    stands_out = np.append(largest[:-1] > least[1:], True)
    stands_out[1:] &= largest[1:] > least[:-1]
    groups: Indexes = stands_out.nonzero()[0]
    if len(groups) == 0:
        return groups
    rows = np.minimum(starts[groups][:, None] + np.arange(_GROUP_ROWS), len(volume) - 1)
    loudest: Indexes = rows[np.arange(len(groups)), volume[rows].argmax(axis=1)]
    return loudest[loudest > 0]


def spikes(window: ContextWindow, rows: Indexes, thresholds: Thresholds) -> Int64Array:
    """Stamps of the candidate rows whose low or high is out of all proportion to the bars around it.

    An excursion is how far the bar reaches beyond both the close before it and the open after it: a wick,
    or a whole bar out of place. It is compared with the true ranges (Wilder, 1978) of the neighbours, so that
    large moves are no findings in a volatile market.
    """
    rows = window.judged(rows)
    found = np.zeros(len(rows), dtype=bool)
    for part in _batches(rows):
        found[part] = _excursion(window, rows[part]) > _plausible_excursion(window, rows[part], thresholds)
    return window.ts[rows[found]]


def jumps(
    window: ContextWindow, rows: Indexes, missing: Int64Array, thresholds: Thresholds
) -> dict[str, Int64Array]:
    """Candidate rows whose close is far from the one before, per rule: moves that stay, and excursions.

    missing: for each row of the window, how many expected bars are missing between it and the next,
        whether they were requested or not. Over a hole a price may move as a random walk does.
    """
    rows = window.judged(rows)
    rows = rows[rows > 0]
    if len(rows) == 0:
        return {}
    close = window.columns["close"]
    around, exists = neighbours(len(close), rows, _LEVEL_BARS)
    values = np.where(exists, _log(close[around]), np.nan)
    now, before = _log(close[rows]), _log(close[rows - 1])
    # The bar itself is the first of those that follow the jump.
    # After a long hole, the bars before it no longer give a level that the price could come back to.
    is_behind_hole = missing[rows - 1] >= _LEVEL_BARS
    level_before = np.where(is_behind_hole, before, _median(values[:, :_LEVEL_BARS]))
    level_after = _median(np.column_stack([now, values[:, _LEVEL_BARS:-1]]))
    move = np.abs(now - before)
    least_change = thresholds.shift_kept * move
    is_kept = np.abs(level_after - level_before) >= least_change
    is_excursion = (
        ~is_kept & (np.abs(now - level_after) >= least_change) & (np.abs(now - level_before) >= least_change)
    )
    excursions = rows[is_excursion]
    far = np.abs(now[is_excursion] - level_after[is_excursion]) > _plausible_excursion(
        window, excursions, thresholds
    )
    # A price that comes back is judged by how far it still is from the former level.
    others = rows[~is_excursion]
    moved = np.where(is_kept, move, np.abs(level_after - level_before))[~is_excursion]
    implausible = moved > _plausible_jump(window, others, missing[others - 1], thresholds)
    return {
        PRICE_JUMP: window.ts[others[implausible]],
        LEVEL_SHIFT: window.ts[others[~implausible & (moved > thresholds.shift_least)]],
        PRICE_SPIKE: window.ts[excursions[far]],
    }


def volume_spikes(window: ContextWindow, rows: Indexes, thresholds: Thresholds) -> Int64Array:
    """Stamps of the candidate rows whose volume is far above all of the volumes around."""
    rows = window.judged(rows)
    volume = window.columns["volume"]
    found = np.zeros(len(rows), dtype=bool)
    for part in _batches(rows):
        around, exists = neighbours(len(volume), rows[part])
        largest = np.where(exists, volume[around], 0.0).max(axis=1)
        enough = exists.sum(axis=1) >= thresholds.spike_rows
        found[part] = enough & (largest > 0) & (volume[rows[part]] > thresholds.volume_times * largest)
    return window.ts[rows[found]]


def _log_returns(close: Floats, rows: Indexes) -> Floats:
    """Log return of each row: the logarithm of its close over the close before; zero for the first row."""
    return _log(close[rows]) - _log(close[np.maximum(rows - 1, 0)])


def _excursion(window: ContextWindow, rows: Indexes) -> Floats:
    """How far each bar reaches beyond its neighbours' close and open, as a logarithm."""
    open_, high, low, close, _ = window.columns.values()
    before = np.where(rows > 0, close[np.maximum(rows - 1, 0)], open_[rows])
    final = len(close) - 1
    after = np.where(rows < final, open_[np.minimum(rows + 1, final)], close[rows])
    down = _log(np.minimum(before, after)) - _log(low[rows])
    up = _log(high[rows]) - _log(np.maximum(before, after))
    return np.fmax(down, up)


class Ranges(NamedTuple):
    """True ranges of the bars around each of some rows, as logarithms.

    usual: the median; large: the 90th percentile (both infinite where rows are few). near: the largest of the
    nearest bars; zero where there are none.
    """

    usual: Floats
    large: Floats
    near: Floats


def _ranges(window: ContextWindow, rows: Indexes, thresholds: Thresholds) -> Ranges:
    """True ranges of up to 63 bars on either side of each row, without the row itself."""
    around, exists = neighbours(len(window.ts), rows)
    _, high, low, close, _ = window.columns.values()
    before = close[np.maximum(around - 1, 0)]
    ranges = _log(np.maximum(high[around], before)) - _log(np.minimum(low[around], before))
    # The range of the row after an outlier includes the outlier's close, and would make it look usual.
    ranges[~exists | (around == rows[:, None] + 1)] = np.nan
    middle = ranges.shape[1] // 2
    nearest = ranges[:, middle - _NEAREST_BARS : middle + _NEAREST_BARS]
    near = np.where(np.isnan(nearest), 0.0, nearest).max(axis=1)
    ranges.sort(axis=1)  # NaN last
    count = (~np.isnan(ranges)).sum(axis=1)
    row, enough = np.arange(len(rows)), count >= thresholds.spike_rows
    usual = np.where(enough, ranges[row, count // 2], np.inf)
    large = np.where(enough, ranges[row, count * 9 // 10], np.inf)
    return Ranges(usual, large, near)


def _plausible_excursion(window: ContextWindow, rows: Indexes, thresholds: Thresholds) -> Floats:
    """The largest excursion that the ranges of the bars around each row make plausible."""
    usual, large, near = _ranges(window, rows, thresholds)
    small = np.fmax(usual * thresholds.spike_times_usual, large * thresholds.spike_times_large)
    far = np.fmax(usual * thresholds.far_times_usual, large * thresholds.far_times_large)
    far = np.fmax(np.fmax(far, near * thresholds.far_times_near), thresholds.far_least)
    plausible: Floats = np.fmin(np.fmin(small, far), thresholds.far_always)
    return plausible


def _plausible_jump(
    window: ContextWindow, rows: Indexes, missing: Int64Array, thresholds: Thresholds
) -> Floats:
    """The largest move from the close before that the bars around each row, and a hole before it, explain."""
    plausible = np.zeros(len(rows))
    for part in _batches(rows):
        usual, large, near = _ranges(window, rows[part], thresholds)
        walk = usual * thresholds.far_times_usual * np.sqrt(missing[part] + 1)
        plausible[part] = np.fmax(
            np.fmax(walk, large * thresholds.far_times_large), near * thresholds.jump_times_near
        )
    return np.clip(plausible, thresholds.jump_least, thresholds.far_always)


def _log(prices: Floats) -> Floats:
    """Logarithms; NaN for prices of zero and less, whose ratios mean nothing."""
    return np.log(np.where(prices > 0, prices, np.nan))


def _median(values: Floats) -> Floats:
    """The (upper) median of each row; NaN where there is nothing."""
    ordered = np.sort(values, axis=1)
    count = (~np.isnan(ordered)).sum(axis=1)
    middle: Floats = ordered[np.arange(len(ordered)), count // 2]
    return middle


def _batches(rows: npt.NDArray[np.intp]) -> list[slice]:
    return [slice(i, i + _BATCH_ROWS) for i in range(0, len(rows), _BATCH_ROWS)]
