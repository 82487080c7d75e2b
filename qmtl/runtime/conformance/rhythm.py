"""How often a series has bars, and where it has none against its own rhythm."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array, Span
from qmtl.foundation.times import DAY
from qmtl.runtime.conformance.context_window import CONTEXT, ContextWindow, Floats, Indexes, neighbours
from qmtl.runtime.conformance.rules import Thresholds

# Fewer missing bars than this prove nothing, even after rows without a gap.
_MIN_MISSING = 2


class Silences(NamedTuple):
    """Cells that are implausibly silent, and cells that could not be judged."""

    implausible: Coverage
    unchecked: Coverage

    def joined(self, other: Silences) -> Silences:
        return Silences(self.implausible | other.implausible, self.unchecked | other.unchecked)


NO_SILENCE = Silences(EMPTY, EMPTY)


def silences(window: ContextWindow, thresholds: Thresholds) -> Silences:
    """Gaps that the rhythm of the up to 64 rows before and after each does not explain.

    The chance that so many expected bars in a row are missing is `missing_share ** n`, where the share is
    the larger of the two sides' (add one to both counts: 64 rows without a gap may still be followed by one).
    In real markets gaps come in clusters, so a gap must also be much longer than those around it.
    Calendars of weekly hours know no holidays, so gaps at Christmas and New Year are not judged on them.

    Only cells that a source has answered are judged, and count as missing: a gap with an unanswered cell in
    it says nothing about the rhythm. Its part from the row before up to that cell is the silence of a feed
    that stopped; it is judged by the rows before it alone, as in `last_silence`.
    """
    gaps = window.gaps
    if len(gaps) == 0:
        return NO_SILENCE
    counts, stopped, ends = _answered_gaps(window)
    judged = counts >= _least_judged(window, counts, thresholds)
    judged &= (gaps >= window.first) & (gaps < window.last)
    long, lengths = gaps[judged], counts[judged]
    found = NO_SILENCE
    if len(long):
        total = _running_total(counts)
        before = _missing_share(window, total, np.maximum(long - CONTEXT + 1, 0), long, thresholds)
        last_row = len(window.ts) - 1
        after = _missing_share(window, total, long + 1, np.minimum(long + CONTEXT, last_row), thresholds)
        share = np.fmax(before, after)  # ignores a side without a rhythm (NaN)
        found = Silences(EMPTY, _cells_of(window, long[np.isnan(share)]))
        unlikely = _unlikely(lengths, share, thresholds)
        if unlikely.any():
            suspects = long[unlikely]
            # The gap itself is at the centre and so not among its neighbours.
            third = _third_longest(window, counts, suspects)
            suspects = suspects[lengths[unlikely] >= thresholds.silence_times_gap * third]
            found = found._replace(implausible=_cells_of(window, suspects))
    is_judged = (stopped >= window.first) & (stopped < window.last)
    found = found.joined(_silent_stops(window, counts, stopped[is_judged], ends[is_judged], thresholds))
    return _without_holidays(window, *found)


def _least_judged(window: ContextWindow, counts: Int64Array, thresholds: Thresholds) -> int:
    """So many missing bars a gap must have that anything can be found about it. `counts`: of all gaps.

    No share of missing bars is less than one in `CONTEXT + 2`, and even that explains a few of them.
    """
    is_share_known = window.grid.is_always_open and len(window.ts) >= 2 * thresholds.silence_rows
    # Bars off the grid may share a cell, and then fewer than none are missing between them.
    if not is_share_known or counts.min() < 0:
        return _MIN_MISSING
    longest_explained = np.log(thresholds.silence_chance) / -np.log(CONTEXT + 2)
    return max(_MIN_MISSING, int(longest_explained - 1e-9) + 1)


def last_silence(window: ContextWindow, answered: Coverage, thresholds: Thresholds) -> Silences:
    """The silence after the last row of all: a feed that stopped.

    answered: the spans that sources answered after that row. The silence reaches to the first expected cell
    without an answer, so it does not depend on the range requested. It is judged as `silences` are, but by
    the rows before it alone, and is no neighbour of another gap: a row that comes later changes no other
    flag.
    """
    grid, last = window.grid, len(window.ts) - 1
    start = grid.after(grid.floor(int(window.ts[last])))
    answered_until = grid.floor(answered.hull.end) if answered else start
    if answered_until <= start:
        return NO_SILENCE
    expected = grid.expected(Span(start, answered_until))
    unanswered = expected - answered
    cells = expected.clip(Span(start, unanswered.hull.start)) if unanswered else expected
    count = grid.count(cells)
    if count < _MIN_MISSING:
        return NO_SILENCE
    counts, _, _ = _answered_gaps(window)
    row, length = np.array([last]), np.array([count])
    if np.isnan(_share_before(window, counts, row, thresholds)[0]):
        return Silences(EMPTY, cells)
    if not _is_implausible_stop(window, counts, row, length, thresholds)[0]:
        return NO_SILENCE
    return _without_holidays(window, cells, EMPTY)


def _answered_gaps(window: ContextWindow) -> tuple[Int64Array, Indexes, Int64Array]:
    """How many bars are missing in each gap, if all of them were answered (else zero).

    Also the rows after which not all were answered, and for each of those the first unanswered cell.
    """
    counts, unanswered = window.missing_in_gaps, window.unanswered
    if not unanswered:
        return counts, np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.int64)
    gaps, ts = window.gaps, window.ts
    index = np.searchsorted(unanswered.starts, ts[gaps], side="right")
    first = unanswered.starts[np.minimum(index, len(unanswered) - 1)]
    is_open = (index < len(unanswered)) & (first < ts[gaps + 1])
    return np.where(is_open, 0, counts), gaps[is_open], first[is_open]


def _silent_stops(
    window: ContextWindow, counts: Int64Array, rows: Indexes, ends: Int64Array, thresholds: Thresholds
) -> Silences:
    """The silences that follow some rows, up to the first unanswered cell. `counts`: of all gaps."""
    lengths = window.cells_before(ends) - window.cells_before(window.ts[rows])
    lengths -= 1 if window.grid.is_always_open else window.is_expected[rows]
    long = lengths >= _MIN_MISSING
    rows, ends, lengths = rows[long], ends[long], lengths[long]
    if len(rows) == 0:
        return NO_SILENCE
    unknown = np.isnan(_share_before(window, counts, rows, thresholds))
    suspects = _is_implausible_stop(window, counts, rows, lengths, thresholds)
    return Silences(
        _cells_between(window, rows[suspects], ends[suspects]),
        _cells_between(window, rows[unknown], ends[unknown]),
    )


def _share_before(window: ContextWindow, counts: Int64Array, rows: Indexes, thresholds: Thresholds) -> Floats:
    total = _running_total(counts)
    return _missing_share(window, total, np.maximum(rows - CONTEXT + 1, 0), rows, thresholds)


def _is_implausible_stop(
    window: ContextWindow, counts: Int64Array, rows: Indexes, lengths: Int64Array, thresholds: Thresholds
) -> npt.NDArray[np.bool_]:
    found = _unlikely(lengths, _share_before(window, counts, rows, thresholds), thresholds)
    third = _third_longest(window, counts, rows[found], before_only=True)
    found[found] = lengths[found] >= thresholds.silence_times_gap * third
    return found


def _unlikely(counts: Int64Array, share: Floats, thresholds: Thresholds) -> npt.NDArray[np.bool_]:
    """Whether the chance of so many missing bars is too small; never where the share is not known (NaN)."""
    # Where bars off the grid share cells, the share may be zero and less.
    with np.errstate(invalid="ignore", divide="ignore"):
        unlikely: npt.NDArray[np.bool_] = counts * np.log(share) < np.log(thresholds.silence_chance)
    return unlikely


def _third_longest(
    window: ContextWindow, counts: Int64Array, rows: Indexes, *, before_only: bool = False
) -> Int64Array:
    """The third longest of the gaps after the rows around each of some rows. `counts`: of all gaps."""
    missing = window.after_rows(counts)
    around, exists = neighbours(len(missing), rows)
    if before_only:
        exists &= around < rows[:, None]
    third: Int64Array = np.sort(np.where(exists, missing[around], 0), axis=1)[:, -3]
    return third


def _without_holidays(window: ContextWindow, implausible: Coverage, unchecked: Coverage) -> Silences:
    if implausible and not window.grid.is_always_open:
        holidays = _year_end_holidays(implausible)
        implausible, unchecked = implausible - holidays, unchecked | holidays
    return Silences(implausible, unchecked)


def other_timeframe(window: ContextWindow, thresholds: Thresholds) -> Int64Array:
    """Bars in a run of steps that all are multiples of one longer step."""
    gaps, length = window.gaps, thresholds.other_timeframe_steps
    if len(gaps) < length or not (gaps[length - 1 :] - gaps[: len(gaps) - length + 1] == length - 1).any():
        return np.zeros(0, dtype=np.int64)
    divisor = np.diff(window.ts) // window.grid.step
    width = 1
    while width < length:
        shift = min(width, length - width)
        divisor = np.gcd(divisor[:-shift], divisor[shift:])
        width += shift
    # A window that starts at step k names the rows k .. k + length.
    edges = np.zeros(len(window.ts) + 1, dtype=np.int64)
    starts = np.flatnonzero(divisor > 1)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + length + 1, -1)
    return window.stamps_of(np.flatnonzero(np.cumsum(edges)[:-1] > 0))


def _missing_share(
    window: ContextWindow, total: Int64Array, first: Indexes, last: Indexes, thresholds: Thresholds
) -> Floats:
    """The share of expected bars without a row from row `first` to row `last`; NaN where rows are few.

    total: how many bars are missing in the gaps before each gap, and in all of them.
    """
    gaps = window.gaps
    missing_rows = total[gaps.searchsorted(last)] - total[gaps.searchsorted(first)]
    if window.grid.is_always_open:
        rows = last - first + 1
    else:
        counted = np.concatenate([[0], np.cumsum(window.is_expected)])
        rows = counted[last + 1] - counted[first]
    share = (missing_rows + 1) / (rows + missing_rows + 2)
    return np.where(rows >= thresholds.silence_rows, share, np.nan)


def _running_total(counts: Int64Array) -> Int64Array:
    return np.concatenate([[0], np.cumsum(counts)])


def _year_end_holidays(cells: Coverage) -> Coverage:
    """The spans from Christmas Eve to Boxing Day, and around New Year's Day (UTC, early closes included)."""
    starts, ends = cells.starts, cells.ends
    years = (starts + 10 * DAY).view("datetime64[ns]").astype("datetime64[Y]")
    new_year = years.astype("datetime64[ns]").view(np.int64)
    christmas = (starts >= new_year - 9 * DAY + DAY // 2) & (ends <= new_year - 5 * DAY)
    around = (starts >= new_year - 2 * DAY + DAY // 2) & (ends <= new_year + 2 * DAY)
    return Coverage.from_arrays(starts[christmas | around], ends[christmas | around])


def _cells_of(window: ContextWindow, gaps: Indexes) -> Coverage:
    """The expected cells between each of some rows and the row after it."""
    # Bars off the grid are rare, and refused anyway; the cell that such a bar lies in is used.
    ends = [window.grid.floor(int(t)) for t in window.ts[gaps + 1]]
    return _cells_between(window, gaps, np.array(ends, dtype=np.int64))


def _cells_between(window: ContextWindow, rows: Indexes, ends: Int64Array) -> Coverage:
    """The expected cells after each of some rows, up to an end."""
    if len(rows) == 0:
        return EMPTY
    grid = window.grid
    starts = [grid.after(grid.floor(int(t))) for t in window.ts[rows]]
    between = Coverage.from_arrays(np.minimum(starts, ends), ends)
    return between if grid.is_always_open else between & window.expected
