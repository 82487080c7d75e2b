"""Prices and volumes that their neighbours do not explain.

Candidates are found by one cheap look at a bar, the one before and the one after; only they are compared
with up to 63 bars on either side. What is plausible follows from the ranges of the series itself: one measure
for small excursions, of which real markets have many, and another for far ones, of which they have few.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qmtl.foundation.timeline import Int64Array
from qmtl.runtime.conformance.rules import LEVEL_SHIFT, PRICE_JUMP, PRICE_SPIKE, Thresholds
from qmtl.runtime.conformance.stretch import Floats, Indexes, Stretch, neighbours

# So many candidates are compared with their neighbours at a time: about 4 MB per matrix.
_AT_ONCE = 4096

# The nearest bars on either side: a crash has wild ones among them.
_NEAR = 4

# Bars before and after a jump, whose median close says where the price was and where it stayed.
_SETTLED = 8


class Candidates(NamedTuple):
    """Row numbers that deserve a closer look, by what they may turn out to be."""

    spikes: Indexes
    jumps: Indexes
    volumes: Indexes


def candidates(stretch: Stretch, limits: Thresholds) -> Candidates:
    """Rows that stand out from the one before: a necessary condition of each rule here, in few passes."""
    far = float(np.exp(min(limits.spike_least, limits.shift_least, limits.jump_least)))
    open_, high, low, close, volume = stretch.columns.values()
    moved = np.flatnonzero((low[1:] * far < close[:-1]) | (high[1:] > close[:-1] * far)) + 1
    # The first row has no close before it; its own open stands in.
    if low[0] * far < open_[0] or high[0] > open_[0] * far:
        moved = np.insert(moved, 0, 0)
    spiking = jumping = moved
    if len(moved):
        spiking = moved[_reach(stretch, moved) > limits.spike_least]
        jumping = moved[np.abs(_moves(close, moved)) > min(limits.shift_least, limits.jump_least)]
    louder = np.flatnonzero(volume[1:] > volume[:-1] * limits.volume_times) + 1
    if len(louder):
        follower = np.minimum(louder + 1, len(volume) - 1)
        louder = louder[(follower == louder) | (volume[louder] > volume[follower] * limits.volume_times)]
    return Candidates(spiking, jumping, louder)


def spikes(stretch: Stretch, rows: Indexes, limits: Thresholds) -> Int64Array:
    """Those of the candidate rows whose low or high is out of all proportion to the bars around it.

    An excursion is how far the bar reaches beyond both the close before it and the open after it: a wick,
    or a whole bar out of place. It is compared with the true ranges (Wilder, 1978) of the neighbours, so that
    a wild market may be wild.
    """
    rows = stretch.judged(rows)
    found = np.zeros(len(rows), dtype=bool)
    for part in _parts(rows):
        found[part] = _reach(stretch, rows[part]) > _explained(stretch, rows[part], limits)
    return stretch.ts[rows[found]]


def jumps(stretch: Stretch, rows: Indexes, missing: Int64Array, limits: Thresholds) -> dict[str, Int64Array]:
    """Candidate rows whose close is far from the one before: moves that stay, and visits that do not.

    missing: for each row of the stretch, how many expected bars are missing between it and the next,
        whether anybody has asked for them or not. Over a hole a price may wander as a random walk does.
    """
    rows = stretch.judged(rows)
    rows = rows[rows > 0]
    if len(rows) == 0:
        return {}
    close = _log(stretch.columns["close"])
    around, there = neighbours(len(close), rows, _SETTLED)
    values = np.where(there, close[around], np.nan)
    # The bar itself is the first of those that follow the jump.
    # Behind a long hole, what lay before it is no surroundings that the price could come back to.
    is_behind_hole = missing[rows - 1] >= _SETTLED
    was = np.where(is_behind_hole, close[rows - 1], _median(values[:, :_SETTLED]))
    is_ = _median(np.column_stack([close[rows], values[:, _SETTLED:-1]]))
    move = np.abs(close[rows] - close[rows - 1])
    least = limits.shift_kept * move
    stays = np.abs(is_ - was) >= least
    astray = ~stays & (np.abs(close[rows] - is_) >= least) & (np.abs(close[rows] - was) >= least)
    visits = rows[astray]
    far = np.abs(close[visits] - is_[astray]) > _explained(stretch, visits, limits)
    # Who comes back is judged by how far from the former level.
    rest, moved = rows[~astray], np.where(stays, move, np.abs(is_ - was))[~astray]
    implausible = moved > _wandered(stretch, rest, missing[rest - 1], limits)
    return {
        PRICE_JUMP: stretch.ts[rest[implausible]],
        LEVEL_SHIFT: stretch.ts[rest[~implausible & (moved > limits.shift_least)]],
        PRICE_SPIKE: stretch.ts[visits[far]],
    }


def volume_spikes(stretch: Stretch, rows: Indexes, limits: Thresholds) -> Int64Array:
    """Those of the candidate rows whose volume is far above all of the volumes around."""
    rows = stretch.judged(rows)
    volume = stretch.columns["volume"]
    found = np.zeros(len(rows), dtype=bool)
    for part in _parts(rows):
        around, there = neighbours(len(volume), rows[part])
        largest = np.where(there, volume[around], 0.0).max(axis=1)
        enough = there.sum(axis=1) >= limits.spike_rows
        found[part] = enough & (largest > 0) & (volume[rows[part]] > limits.volume_times * largest)
    return stretch.ts[rows[found]]


def _moves(close: Floats, rows: Indexes) -> Floats:
    """The logarithm of each row's close over the close before; zero for the first row."""
    return _log(close[rows]) - _log(close[np.maximum(rows - 1, 0)])


def _reach(stretch: Stretch, rows: Indexes) -> Floats:
    """How far each bar reaches beyond its neighbours' close and open, as a logarithm."""
    open_, high, low, close, _ = stretch.columns.values()
    before = np.where(rows > 0, close[np.maximum(rows - 1, 0)], open_[rows])
    final = len(close) - 1
    after = np.where(rows < final, open_[np.minimum(rows + 1, final)], close[rows])
    dip = _log(np.minimum(before, after)) - _log(low[rows])
    peak = _log(high[rows]) - _log(np.maximum(before, after))
    return np.fmax(dip, peak)


class Ranges(NamedTuple):
    """True ranges of the bars around each of some rows, as logarithms.

    usual: the median; large: the 90th percentile (both infinite where rows are few). near: the largest of the
    nearest; zero where there is none.
    """

    usual: Floats
    large: Floats
    near: Floats


def _ranges(stretch: Stretch, rows: Indexes, limits: Thresholds) -> Ranges:
    """Of up to 63 bars on either side of each row, without the row itself."""
    around, there = neighbours(len(stretch.ts), rows)
    _, high, low, close, _ = stretch.columns.values()
    before = close[np.maximum(around - 1, 0)]
    ranges = _log(np.maximum(high[around], before)) - _log(np.minimum(low[around], before))
    # The row after an outlier has it as its close before, and would make it look usual.
    ranges[~there | (around == rows[:, None] + 1)] = np.nan
    middle = ranges.shape[1] // 2
    nearest = ranges[:, middle - _NEAR : middle + _NEAR]
    near = np.where(np.isnan(nearest), 0.0, nearest).max(axis=1)
    ranges.sort(axis=1)  # NaN last
    count = (~np.isnan(ranges)).sum(axis=1)
    row, enough = np.arange(len(rows)), count >= limits.spike_rows
    usual = np.where(enough, ranges[row, count // 2], np.inf)
    large = np.where(enough, ranges[row, count * 9 // 10], np.inf)
    return Ranges(usual, large, near)


def _explained(stretch: Stretch, rows: Indexes, limits: Thresholds) -> Floats:
    """The largest excursion that the ranges of the bars around each row make plausible."""
    usual, large, near = _ranges(stretch, rows, limits)
    small = np.fmax(usual * limits.spike_times_usual, large * limits.spike_times_large)
    far = np.fmax(usual * limits.far_times_usual, large * limits.far_times_large)
    far = np.fmax(np.fmax(far, near * limits.far_times_near), limits.far_least)
    explained: Floats = np.fmin(np.fmin(small, far), limits.far_always)
    return explained


def _wandered(stretch: Stretch, rows: Indexes, missing: Int64Array, limits: Thresholds) -> Floats:
    """The largest move from the close before that the bars around each row, and a hole before it, explain."""
    wandered = np.zeros(len(rows))
    for part in _parts(rows):
        usual, large, near = _ranges(stretch, rows[part], limits)
        walk = usual * limits.far_times_usual * np.sqrt(missing[part] + 1)
        wandered[part] = np.fmax(np.fmax(walk, large * limits.far_times_large), near * limits.jump_times_near)
    return np.clip(wandered, limits.jump_least, limits.far_always)


def _log(prices: Floats) -> Floats:
    """Logarithms; NaN for prices of zero and less, which have no ratios to compare."""
    return np.log(np.where(prices > 0, prices, np.nan))


def _median(values: Floats) -> Floats:
    """The (upper) median of each row; NaN where there is nothing."""
    ordered = np.sort(values, axis=1)
    count = (~np.isnan(ordered)).sum(axis=1)
    middle: Floats = ordered[np.arange(len(ordered)), count // 2]
    return middle


def _parts(rows: npt.NDArray[np.intp]) -> list[slice]:
    return [slice(i, i + _AT_ONCE) for i in range(0, len(rows), _AT_ONCE)]
