"""How often a series has bars, and where it falls silent against its own habit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array, Span
from qmtl.foundation.times import DAY
from qmtl.runtime.conformance.rules import Thresholds
from qmtl.runtime.conformance.stretch import CONTEXT, Floats, Indexes, Stretch, neighbours

# Even after a perfect run of rows, fewer missing bars than this are no proof of anything.
_SHORTEST = 2


class Silences(NamedTuple):
    """Cells that are implausibly silent, and cells that could not be judged."""

    implausible: Coverage
    unchecked: Coverage

    def joined(self, other: Silences) -> Silences:
        return Silences(self.implausible | other.implausible, self.unchecked | other.unchecked)


NO_SILENCE = Silences(EMPTY, EMPTY)


def silences(stretch: Stretch, limits: Thresholds) -> Silences:
    """Gaps that the rhythm of the up to 64 rows before and after each does not explain.

    The chance that so many expected bars in a row are missing is `missing_share ** n`, where the share is
    the larger of the two sides' (add one to both counts: a perfect side of 64 rows may still miss a bar).
    Real markets fall silent in bunches, so a gap must also be much longer than those around it.
    Calendars of weekly hours know no holidays, so gaps at Christmas and New Year are not judged on them.
    """
    gaps, ts = stretch.gaps, stretch.ts
    if len(gaps) == 0:
        return NO_SILENCE
    missing = _missing_after(stretch)
    long = gaps[(missing[gaps] >= _SHORTEST) & (gaps >= stretch.first) & (gaps < stretch.last)]
    if len(long) == 0:
        return NO_SILENCE
    before = _missing_share(stretch, np.maximum(long - CONTEXT + 1, 0), long, limits)
    after = _missing_share(stretch, long + 1, np.minimum(long + CONTEXT, len(ts) - 1), limits)
    share = np.fmax(before, after)  # ignores a side without a rhythm (NaN)
    with np.errstate(invalid="ignore"):
        unlikely = missing[long] * np.log(share) < np.log(limits.silence_chance)
    unknown = long[np.isnan(share)]
    # The gap itself is at the centre and so not among its neighbours.
    suspects = long[unlikely]
    if len(suspects):
        around, there = neighbours(len(ts), suspects)
        third = np.sort(np.where(there, missing[around], 0), axis=1)[:, -3]
        suspects = suspects[missing[suspects] >= limits.silence_times_gap * third]
    return _without_holidays(stretch, _cells_of(stretch, suspects), _cells_of(stretch, unknown))


def last_silence(stretch: Stretch, answered: Coverage, limits: Thresholds) -> Silences:
    """The silence after the last row that there is: a feed that died.

    answered: what sources spoke for behind that row. The silence reaches to the first expected cell that
    nobody has answered for, so it does not depend on the range asked. It is judged as `silences` are, but by
    the rows before it alone, and is no neighbour of another gap: a row that comes later changes nothing else.
    """
    grid, last = stretch.grid, len(stretch.ts) - 1
    start = grid.after(grid.floor(int(stretch.ts[last])))
    reach = grid.floor(answered.hull.end) if answered else start
    if reach <= start:
        return NO_SILENCE
    due = grid.expected(Span(start, reach))
    unanswered = due - answered
    cells = due.clip(Span(start, unanswered.hull.start)) if unanswered else due
    missing = grid.count(cells)
    if missing < _SHORTEST:
        return NO_SILENCE
    row = np.array([last])
    share = float(_missing_share(stretch, np.maximum(row - CONTEXT + 1, 0), row, limits)[0])
    if np.isnan(share):
        return Silences(EMPTY, cells)
    around, there = neighbours(last + 1, row)
    third = int(np.sort(np.where(there, _missing_after(stretch)[around], 0), axis=1)[0, -3])
    if missing * np.log(share) >= np.log(limits.silence_chance) or missing < limits.silence_times_gap * third:
        return NO_SILENCE
    return _without_holidays(stretch, cells, EMPTY)


def _missing_after(stretch: Stretch) -> Int64Array:
    """For each row, how many expected bars are missing between it and the next."""
    gaps, ts = stretch.gaps, stretch.ts
    missing = np.zeros(len(ts), dtype=np.int64)
    missing[gaps] = _cells_before(stretch, ts[gaps + 1]) - _cells_before(stretch, ts[gaps]) - 1
    if not stretch.grid.is_always_open:
        missing[gaps] += ~stretch.is_expected[gaps]
    return missing


def _without_holidays(stretch: Stretch, implausible: Coverage, unchecked: Coverage) -> Silences:
    if implausible and not stretch.grid.is_always_open:
        holidays = _years_ends(implausible)
        implausible, unchecked = implausible - holidays, unchecked | holidays
    return Silences(implausible, unchecked)


def other_timeframe(stretch: Stretch, limits: Thresholds) -> Int64Array:
    """Bars in a run of steps that all are multiples of one longer step."""
    gaps, length = stretch.gaps, limits.other_timeframe_steps
    if len(gaps) < length or not (gaps[length - 1 :] - gaps[: len(gaps) - length + 1] == length - 1).any():
        return np.zeros(0, dtype=np.int64)
    divisor = np.diff(stretch.ts) // stretch.grid.step
    width = 1
    while width < length:
        shift = min(width, length - width)
        divisor = np.gcd(divisor[:-shift], divisor[shift:])
        width += shift
    # A window that starts at step k names the rows k .. k + length.
    edges = np.zeros(len(stretch.ts) + 1, dtype=np.int64)
    starts = np.flatnonzero(divisor > 1)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + length + 1, -1)
    return stretch.stamps_of(np.flatnonzero(np.cumsum(edges)[:-1] > 0))


def _cells_before(stretch: Stretch, ts: Int64Array) -> Int64Array:
    """How many expected cells open before each stamp; only differences mean something."""
    grid = stretch.grid
    if grid.is_always_open:
        return (ts - grid.timeframe.origin) // grid.step
    expected = stretch.expected
    if not grid.is_uniform:
        return np.searchsorted(grid.stamps(expected), ts).astype(np.int64)
    if not expected:
        return np.zeros(len(ts), dtype=np.int64)
    lengths = expected.ends - expected.starts
    total = np.concatenate([[0], np.cumsum(lengths)])
    span = np.searchsorted(expected.starts, ts, side="right") - 1
    inside = np.minimum(ts - expected.starts[span], lengths[span])
    before: Int64Array = np.where(span < 0, 0, total[span] + inside)
    return -(-before // grid.step)


def _missing_share(stretch: Stretch, first: Indexes, last: Indexes, limits: Thresholds) -> Floats:
    """The share of expected bars without a row from row `first` to row `last`; NaN where rows are few."""
    ts = stretch.ts
    cells = _cells_before(stretch, ts[last]) - _cells_before(stretch, ts[first])
    if stretch.grid.is_always_open:
        rows = last - first + 1
        cells = cells + 1
    else:
        counted = np.concatenate([[0], np.cumsum(stretch.is_expected)])
        rows = counted[last + 1] - counted[first]
        cells = cells + stretch.is_expected[last]
    share = (np.maximum(cells - rows, 0) + 1) / (cells + 2)
    return np.where(rows >= limits.silence_rows, share, np.nan)


def _years_ends(cells: Coverage) -> Coverage:
    """The spans from Christmas Eve to Boxing Day, and around New Year's Day (UTC, early closes included)."""
    starts, ends = cells.starts, cells.ends
    years = (starts + 10 * DAY).view("datetime64[ns]").astype("datetime64[Y]")
    new_year = years.astype("datetime64[ns]").view(np.int64)
    christmas = (starts >= new_year - 9 * DAY + DAY // 2) & (ends <= new_year - 5 * DAY)
    around = (starts >= new_year - 2 * DAY + DAY // 2) & (ends <= new_year + 2 * DAY)
    return Coverage.from_arrays(starts[christmas | around], ends[christmas | around])


def _cells_of(stretch: Stretch, gaps: Indexes) -> Coverage:
    """The expected cells between each of some rows and the row after it."""
    if len(gaps) == 0:
        return EMPTY
    grid, ts = stretch.grid, stretch.ts
    # Bars off the grid are rare, and refused anyway; their cell is the one they lie in.
    starts = [grid.after(grid.floor(int(t))) for t in ts[gaps]]
    ends = [grid.floor(int(t)) for t in ts[gaps + 1]]
    between = Coverage.from_arrays(np.minimum(starts, ends), ends)
    return between if grid.is_always_open else between & stretch.expected
