"""Runs of bars without a change: long repeats of one bar, and flat bars made up to fill a hole."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qmtl.foundation.frames import PRICES
from qmtl.foundation.timeline import Int64Array
from qmtl.runtime.conformance.context_window import CONTEXT, NEIGHBOURS, ContextWindow, Floats, Indexes
from qmtl.runtime.conformance.rules import Thresholds

Mask = npt.NDArray[np.bool_]

# How many runs are compared with those around them at a time.
_BATCH_RUNS = 4096


class Runs(NamedTuple):
    """Row numbers `[start, end)` of each run, in order."""

    starts: Indexes
    ends: Indexes

    @property
    def lengths(self) -> Indexes:
        return self.ends - self.starts


def stale_runs(window: ContextWindow, thresholds: Thresholds) -> Int64Array:
    """All bars of implausible runs that repeat the open, high, low and close of the bar before.

    A run is compared with up to 64 rows before and after it: the share of them that also repeat is taken as
    the chance of each bar of the run (as the share of missing bars is for a silence). A run of `run_always`
    rows is always implausible, as is one with too few rows around to know what is usual.
    """
    if not _may_be_long(window, max(thresholds.run_rows // 2, 1)):
        return np.zeros(0, dtype=np.int64)
    repeated = _repeats(window, 0, len(window.ts))
    runs = _runs(repeated)
    long = np.flatnonzero(runs.lengths >= thresholds.run_rows)
    total = np.concatenate([[0], np.cumsum(repeated)])
    flagged = [np.zeros(0, dtype=np.intp)]
    for first in range(0, len(long), _BATCH_RUNS):
        chosen = long[first : first + _BATCH_RUNS]
        chosen = chosen[_is_implausible(runs, chosen, total, thresholds)]
        flagged += [
            np.arange(_run_start(window, start), end)
            for start, end in zip(runs.starts[chosen].tolist(), runs.ends[chosen].tolist(), strict=True)
        ]
    return window.stamps_of(np.concatenate(flagged))


def _may_be_long(window: ContextWindow, stride: int) -> bool:
    """Whether all rows from one multiple of `stride` to the next repeat the row before, anywhere.

    A run of twice that length contains two neighbouring multiples, and all rows between them.
    """
    columns = window.columns
    same: Mask | None = None
    for name in PRICES:
        sampled = columns[name][::stride]
        alike = sampled[1:] == sampled[:-1]
        same = alike if same is None else same & alike
        if not same.any():
            return False
    assert same is not None
    traded = columns["volume"][::stride] != 0
    same &= traded[1:] & traded[:-1]
    rows = np.flatnonzero(same)[:, None] * stride + np.arange(1, stride + 1)
    repeated = columns["volume"][rows] != 0
    for name in PRICES:
        repeated &= columns[name][rows] == columns[name][rows - 1]
    return bool(repeated.all(axis=1).any())


def crosses_an_edge(window: ContextWindow, thresholds: Thresholds) -> bool:
    """Whether a long run of repeated bars crosses the first or the last judged row.

    Then more rows are needed: its own, or those around it, may not all be in the window.
    """
    first, last, count = window.first, window.last, window.rows.height
    if first >= last:
        return False
    close = window.rows.get_column("close").to_numpy()  # of most windows no other column is looked at here
    over_first = first > 0 and close[first] == close[first - 1]
    over_last = last < count and close[last] == close[last - 1]
    return (over_first and _is_long(window, first, thresholds)) or (
        over_last and _is_long(window, last, thresholds)
    )


def padded_bars(window: ContextWindow, thresholds: Thresholds) -> Int64Array:
    """Flat bars with a volume of zero, where such bars are a large share of all bars around."""
    open_, high, low, close, volume = window.columns.values()
    padded = (volume == 0) & (high == low) & (open_ == close) & (open_ == high)
    every = np.flatnonzero(padded)
    # Around each row are at least so many others, or all; the least share of them is a number of padded bars.
    fewest = max(thresholds.padded_rows, min(len(padded), NEIGHBOURS + 1))
    least = max(math.ceil(thresholds.padded_share * fewest), 1)
    if len(every) < least or (every[least - 1 :] - every[: len(every) - least + 1]).min() > 2 * NEIGHBOURS:
        return np.zeros(0, dtype=np.int64)
    rows = window.judged(every)
    total = np.concatenate([[0], np.cumsum(padded)])
    begin, end = np.maximum(rows - NEIGHBOURS, 0), np.minimum(rows + NEIGHBOURS + 1, len(padded))
    around = end - begin
    found = (around >= thresholds.padded_rows) & (
        total[end] - total[begin] >= thresholds.padded_share * around
    )
    flagged: Int64Array = window.ts[rows[found]]
    return flagged


def _repeats(window: ContextWindow, begin: int, end: int) -> Mask:
    """For each of the rows `[begin, end)`, whether it repeats the row before.

    A row with a volume of zero counts as no repeat: that is padding, another rule.
    """
    columns = window.columns
    repeated = np.zeros(end - begin, dtype=bool)
    inner = max(begin, 1)
    same = columns["volume"][inner:end] != 0
    for name in PRICES:
        same &= columns[name][inner:end] == columns[name][inner - 1 : end - 1]
    repeated[inner - begin :] = same
    return repeated


def _runs(repeats: Mask) -> Runs:
    padded = np.concatenate([[False], repeats, [False]])
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    return Runs(edges[::2], edges[1::2])


def _is_long(window: ContextWindow, row: int, thresholds: Thresholds) -> bool:
    """Whether the run over `row` is long, or may be: it reaches the first or last row of the window."""
    count = len(window.ts)
    most = max(thresholds.run_rows, CONTEXT)
    begin, end = max(row - most, 0), min(row + most, count)
    repeated = _repeats(window, begin, end)
    index = row - begin
    if not repeated[index]:
        return False
    ends = np.flatnonzero(~repeated[index:])
    starts = np.flatnonzero(~repeated[:index])
    stop = index + int(ends[0]) if len(ends) else end - begin
    start = int(starts[-1]) + 1 if len(starts) else 0
    return stop - start >= thresholds.run_rows or begin + start <= 1 or begin + stop == count


def _is_implausible(runs: Runs, chosen: Indexes, total: Indexes, thresholds: Thresholds) -> Mask:
    starts, ends = runs.starts[chosen], runs.ends[chosen]
    begin, end = np.maximum(starts - CONTEXT, 0), np.minimum(ends + CONTEXT, len(total) - 1)
    before = _share(starts - begin, total[starts] - total[begin], thresholds)
    after = _share(end - ends, total[end] - total[ends], thresholds)
    share = np.fmax(before, after)  # ignores a side without enough rows (NaN)
    lengths = ends - starts
    with np.errstate(invalid="ignore"):
        unlikely = lengths * np.log(share) < np.log(thresholds.silence_chance)
    others = _third_longest(runs, chosen, begin, end)
    stands_out: Mask = lengths >= thresholds.silence_times_gap * others
    implausible: Mask = (unlikely & stands_out) | np.isnan(share) | (lengths >= thresholds.run_always)
    return implausible


def _share(rows: Indexes, repeats: Indexes, thresholds: Thresholds) -> Floats:
    """The share of some rows that repeat, with one of each kind added; NaN where there are too few rows."""
    return np.where(rows >= thresholds.silence_rows, (repeats + 1) / (rows + 2), np.nan)


def _third_longest(runs: Runs, chosen: Indexes, begin: Indexes, end: Indexes) -> Indexes:
    """The third longest of the other runs; only their part in the rows `[begin, end)` counts."""
    # Two runs have a row between them, so that no more than this many meet the rows on one side.
    most = CONTEXT // 2 + 1
    offsets = np.concatenate([np.arange(-most, 0), np.arange(1, most + 1)])
    around = chosen[:, None] + offsets
    exists = (around >= 0) & (around < len(runs.starts))
    around = np.clip(around, 0, len(runs.starts) - 1)
    inside = np.minimum(runs.ends[around], end[:, None]) - np.maximum(runs.starts[around], begin[:, None])
    third: Indexes = np.sort(np.where(exists, np.maximum(inside, 0), 0), axis=1)[:, -3]
    return third


def _run_start(window: ContextWindow, start: int) -> int:
    """The row that the others of a run repeat, if that row is flat too; else the first that repeats."""
    columns = window.columns
    is_flat = bool(columns["high"][start - 1] == columns["low"][start - 1])
    return start - 1 if is_flat and columns["volume"][start - 1] != 0 else start
