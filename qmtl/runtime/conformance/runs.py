"""Bars in which nothing happens: long runs that repeat one bar, and bars that were made up to fill a hole."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qmtl.foundation.frames import PRICES
from qmtl.foundation.timeline import Int64Array
from qmtl.runtime.conformance.rules import Thresholds
from qmtl.runtime.conformance.stretch import CONTEXT, REACH, Floats, Indexes, Stretch

Mask = npt.NDArray[np.bool_]

# So many runs are compared with those around them at a time.
_AT_ONCE = 4096


class Runs(NamedTuple):
    """Row numbers `[start, end)` of each run, in order."""

    starts: Indexes
    ends: Indexes

    @property
    def lengths(self) -> Indexes:
        return self.ends - self.starts


def stale_runs(stretch: Stretch, limits: Thresholds) -> Int64Array:
    """All bars of implausible runs that repeat the open, high, low and close of the bar before.

    A run is compared with up to 64 rows before it and behind it: the share of them that repeat, too, is the
    chance of each bar of the run, as missing bars are that of a silence. A run of `run_always` rows is
    implausible wherever it is, as is one with too few rows around to know what is usual.
    """
    close = stretch.columns["close"]
    # A run that is long enough holds two neighbouring multiples of half its least length.
    stride = max(limits.run_rows // 2, 1)
    sampled = close[::stride]
    if not (sampled[1:] == sampled[:-1]).any():
        return np.zeros(0, dtype=np.int64)
    repeated = _repeats(stretch, 0, len(close))
    runs = _runs(repeated)
    long = np.flatnonzero(runs.lengths >= limits.run_rows)
    total = np.concatenate([[0], np.cumsum(repeated)])
    named = [np.zeros(0, dtype=np.intp)]
    for part in range(0, len(long), _AT_ONCE):
        chosen = long[part : part + _AT_ONCE]
        chosen = chosen[_is_implausible(runs, chosen, total, limits)]
        named += [
            np.arange(_first_of(stretch, start), end)
            for start, end in zip(runs.starts[chosen].tolist(), runs.ends[chosen].tolist(), strict=True)
        ]
    return stretch.stamps_of(np.concatenate(named))


def is_cut(stretch: Stretch, limits: Thresholds) -> bool:
    """Whether a long run of repeated bars reaches over an end of what is judged.

    Then the rows around it, or its own, may not all be there.
    """
    first, last, count = stretch.first, stretch.last, len(stretch.ts)
    if first >= last:
        return False
    close = stretch.columns["close"]
    over_first = first > 0 and close[first] == close[first - 1]
    over_last = last < count and close[last] == close[last - 1]
    return (over_first and _is_long(stretch, first, limits)) or (
        over_last and _is_long(stretch, last, limits)
    )


def padded_bars(stretch: Stretch, limits: Thresholds) -> Int64Array:
    """Flat bars with a volume of zero, where such bars are a large share of all around."""
    open_, high, low, close, volume = stretch.columns.values()
    padded = (volume == 0) & (high == low) & (open_ == close) & (open_ == high)
    rows = stretch.judged(np.flatnonzero(padded))
    total = np.concatenate([[0], np.cumsum(padded)])
    begin, end = np.maximum(rows - REACH, 0), np.minimum(rows + REACH + 1, len(padded))
    around = end - begin
    found = (around >= limits.padded_rows) & (total[end] - total[begin] >= limits.padded_share * around)
    flagged: Int64Array = stretch.ts[rows[found]]
    return flagged


def _repeats(stretch: Stretch, begin: int, end: int) -> Mask:
    """For each of the rows `[begin, end)`, whether it repeats the row before.

    One with a volume of zero does not: that is padding, another rule.
    """
    columns = stretch.columns
    repeated = np.zeros(end - begin, dtype=bool)
    inner = max(begin, 1)
    here = columns["volume"][inner:end] != 0
    for name in PRICES:
        here &= columns[name][inner:end] == columns[name][inner - 1 : end - 1]
    repeated[inner - begin :] = here
    return repeated


def _runs(still: Mask) -> Runs:
    edges = np.diff(np.concatenate([[0], still.astype(np.int8), [0]]))
    return Runs(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1))


def _is_long(stretch: Stretch, row: int, limits: Thresholds) -> bool:
    """Whether the run over `row` is long, or may be: it reaches to an end of the rows that are there."""
    count = len(stretch.ts)
    enough = max(limits.run_rows, CONTEXT)
    begin, end = max(row - enough, 0), min(row + enough, count)
    repeated = _repeats(stretch, begin, end)
    place = row - begin
    if not repeated[place]:
        return False
    behind = np.flatnonzero(~repeated[place:])
    ahead = np.flatnonzero(~repeated[:place])
    stop = place + int(behind[0]) if len(behind) else end - begin
    start = int(ahead[-1]) + 1 if len(ahead) else 0
    return stop - start >= limits.run_rows or begin + start <= 1 or begin + stop == count


def _is_implausible(runs: Runs, chosen: Indexes, total: Indexes, limits: Thresholds) -> Mask:
    starts, ends = runs.starts[chosen], runs.ends[chosen]
    begin, end = np.maximum(starts - CONTEXT, 0), np.minimum(ends + CONTEXT, len(total) - 1)
    before = _share(starts - begin, total[starts] - total[begin], limits)
    behind = _share(end - ends, total[end] - total[ends], limits)
    share = np.fmax(before, behind)  # ignores a side without enough rows (NaN)
    lengths = ends - starts
    with np.errstate(invalid="ignore"):
        unlikely = lengths * np.log(share) < np.log(limits.silence_chance)
    others = _third_longest(runs, chosen, begin, end)
    stands_out: Mask = lengths >= limits.silence_times_gap * others
    implausible: Mask = (unlikely & stands_out) | np.isnan(share) | (lengths >= limits.run_always)
    return implausible


def _share(rows: Indexes, still: Indexes, limits: Thresholds) -> Floats:
    """How large a share of some rows is still, one more of each kind added; NaN where rows are few."""
    return np.where(rows >= limits.silence_rows, (still + 1) / (rows + 2), np.nan)


def _third_longest(runs: Runs, chosen: Indexes, begin: Indexes, end: Indexes) -> Indexes:
    """The third longest of the other runs, as far as they lie in the rows `[begin, end)` around each."""
    # Two runs have a row between them, so that no more than this many meet the rows on one side.
    most = CONTEXT // 2 + 1
    offsets = np.concatenate([np.arange(-most, 0), np.arange(1, most + 1)])
    around = chosen[:, None] + offsets
    there = (around >= 0) & (around < len(runs.starts))
    around = np.clip(around, 0, len(runs.starts) - 1)
    inside = np.minimum(runs.ends[around], end[:, None]) - np.maximum(runs.starts[around], begin[:, None])
    third: Indexes = np.sort(np.where(there, np.maximum(inside, 0), 0), axis=1)[:, -3]
    return third


def _first_of(stretch: Stretch, start: int) -> int:
    """The row that the others of a run repeat, if it did not move either; else the first that repeats."""
    columns = stretch.columns
    is_flat = bool(columns["high"][start - 1] == columns["low"][start - 1])
    return start - 1 if is_flat and columns["volume"][start - 1] != 0 else start
