"""How often a series has bars, and where it falls silent against its own habit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

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

    Only what sources have answered for is judged, and known of as missing: a gap with a cell in it that
    nobody has answered for says nothing of the rhythm. What of it follows the row before, up to that cell, is
    the silence of a feed that stopped; it is judged by the rows before it alone, as by `last_silence`.
    """
    gaps = stretch.gaps
    if len(gaps) == 0:
        return NO_SILENCE
    missing, stopped, ends = _answered_gaps(stretch)
    long = gaps[(missing[gaps] >= _SHORTEST) & (gaps >= stretch.first) & (gaps < stretch.last)]
    found = NO_SILENCE
    if len(long):
        before = _missing_share(stretch, missing, np.maximum(long - CONTEXT + 1, 0), long, limits)
        after = _missing_share(
            stretch, missing, long + 1, np.minimum(long + CONTEXT, len(missing) - 1), limits
        )
        share = np.fmax(before, after)  # ignores a side without a rhythm (NaN)
        suspects = long[_unlikely(missing[long], share, limits)]
        # The gap itself is at the centre and so not among its neighbours.
        suspects = suspects[missing[suspects] >= limits.silence_times_gap * _third_longest(missing, suspects)]
        found = Silences(_cells_of(stretch, suspects), _cells_of(stretch, long[np.isnan(share)]))
    is_judged = (stopped >= stretch.first) & (stopped < stretch.last)
    found = found.joined(_stopped(stretch, missing, stopped[is_judged], ends[is_judged], limits))
    return _without_holidays(stretch, *found)


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
    count = grid.count(cells)
    if count < _SHORTEST:
        return NO_SILENCE
    missing, _, _ = _answered_gaps(stretch)
    row, counts = np.array([last]), np.array([count])
    if np.isnan(_share_before(stretch, missing, row, limits)[0]):
        return Silences(EMPTY, cells)
    if not _is_implausible_stop(stretch, missing, row, counts, limits)[0]:
        return NO_SILENCE
    return _without_holidays(stretch, cells, EMPTY)


def _answered_gaps(stretch: Stretch) -> tuple[Int64Array, Indexes, Int64Array]:
    """How many bars are missing behind each row, if all of them were answered for.

    Then the rows where not all were, and for each of those the first cell that was not.
    """
    missing, unanswered = stretch.missing, stretch.unanswered
    if not unanswered:
        return missing, np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.int64)
    gaps, ts = stretch.gaps, stretch.ts
    place = np.searchsorted(unanswered.starts, ts[gaps], side="right")
    first = unanswered.starts[np.minimum(place, len(unanswered) - 1)]
    is_open = (place < len(unanswered)) & (first < ts[gaps + 1])
    missing = missing.copy()
    missing[gaps[is_open]] = 0
    return missing, gaps[is_open], first[is_open]


def _stopped(
    stretch: Stretch, missing: Int64Array, rows: Indexes, ends: Int64Array, limits: Thresholds
) -> Silences:
    """The silences that follow some rows, up to a cell that nobody has answered for."""
    counts = stretch.cells_before(ends) - stretch.cells_before(stretch.ts[rows])
    counts -= 1 if stretch.grid.is_always_open else stretch.is_expected[rows]
    long = counts >= _SHORTEST
    rows, ends, counts = rows[long], ends[long], counts[long]
    if len(rows) == 0:
        return NO_SILENCE
    unknown = np.isnan(_share_before(stretch, missing, rows, limits))
    suspects = _is_implausible_stop(stretch, missing, rows, counts, limits)
    return Silences(
        _cells_between(stretch, rows[suspects], ends[suspects]),
        _cells_between(stretch, rows[unknown], ends[unknown]),
    )


def _share_before(stretch: Stretch, missing: Int64Array, rows: Indexes, limits: Thresholds) -> Floats:
    return _missing_share(stretch, missing, np.maximum(rows - CONTEXT + 1, 0), rows, limits)


def _is_implausible_stop(
    stretch: Stretch, missing: Int64Array, rows: Indexes, counts: Int64Array, limits: Thresholds
) -> npt.NDArray[np.bool_]:
    found = _unlikely(counts, _share_before(stretch, missing, rows, limits), limits)
    third = _third_longest(missing, rows[found], before_only=True)
    found[found] = counts[found] >= limits.silence_times_gap * third
    return found


def _unlikely(counts: Int64Array, share: Floats, limits: Thresholds) -> npt.NDArray[np.bool_]:
    """Whether the chance of so many missing bars is too small; never where the share is not known (NaN)."""
    with np.errstate(invalid="ignore"):
        unlikely: npt.NDArray[np.bool_] = counts * np.log(share) < np.log(limits.silence_chance)
    return unlikely


def _third_longest(missing: Int64Array, rows: Indexes, *, before_only: bool = False) -> Int64Array:
    """The third longest of the gaps behind the rows around each of some rows."""
    around, there = neighbours(len(missing), rows)
    if before_only:
        there &= around < rows[:, None]
    third: Int64Array = np.sort(np.where(there, missing[around], 0), axis=1)[:, -3]
    return third


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


def _missing_share(
    stretch: Stretch, missing: Int64Array, first: Indexes, last: Indexes, limits: Thresholds
) -> Floats:
    """The share of expected bars without a row from row `first` to row `last`; NaN where rows are few."""
    lost = np.concatenate([[0], np.cumsum(missing)])
    absent = lost[last] - lost[first]
    if stretch.grid.is_always_open:
        rows = last - first + 1
    else:
        counted = np.concatenate([[0], np.cumsum(stretch.is_expected)])
        rows = counted[last + 1] - counted[first]
    share = (absent + 1) / (rows + absent + 2)
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
    # Bars off the grid are rare, and refused anyway; their cell is the one they lie in.
    ends = [stretch.grid.floor(int(t)) for t in stretch.ts[gaps + 1]]
    return _cells_between(stretch, gaps, np.array(ends, dtype=np.int64))


def _cells_between(stretch: Stretch, rows: Indexes, ends: Int64Array) -> Coverage:
    """The expected cells behind each of some rows, up to an end."""
    if len(rows) == 0:
        return EMPTY
    grid = stretch.grid
    starts = [grid.after(grid.floor(int(t))) for t in stretch.ts[rows]]
    between = Coverage.from_arrays(np.minimum(starts, ends), ends)
    return between if grid.is_always_open else between & stretch.expected
