"""Where the bars of a series lie: its timeframe laid over its calendar.

Each bar owns a cell `[ts, next ts)`. All coverages of this module are unions of whole cells, so that the
five states of a range partition its grid.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from qmtl.foundation.calendars import AlwaysOpen, Calendar, DatedCalendar
from qmtl.foundation.facts import Anchor
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array, Span
from qmtl.foundation.times import DAY


@dataclass(frozen=True)
class Grid:
    """The bars that a calendar expects of a timeframe.

    With `anchor="clock"` a bar may open at each multiple of the step (weeks: Mondays). With
    `anchor="session"`, for intraday timeframes, each session's open starts the count anew, and the cell
    before an open is cut short by it.
    """

    timeframe: Timeframe
    calendar: Calendar = field(default_factory=AlwaysOpen)
    anchor: Anchor = "clock"

    @property
    def step(self) -> int:
        return self.timeframe.step

    @property
    def is_uniform(self) -> bool:
        """Whether every cell is exactly one step long."""
        return self.anchor == "clock" or not self.timeframe.is_intraday

    @property
    def is_always_open(self) -> bool:
        return isinstance(self.calendar, AlwaysOpen)

    def floor(self, ts: int) -> int:
        """The open of the bar whose cell holds `ts`."""
        opens = None if self.is_uniform else self._opens(ts, ts)
        origin = (
            self.timeframe.origin if opens is None else int(opens[np.searchsorted(opens, ts, "right") - 1])
        )
        return ts - (ts - origin) % self.step

    def after(self, ts: int) -> int:
        """Where the cell that opens at the grid stamp `ts` ends."""
        end = ts + self.step
        if self.is_uniform:
            return end
        opens = self._opens(ts, end)
        following = opens[(opens > ts) & (opens < end)]
        return int(following[0]) if len(following) else end

    def ceil(self, ts: int) -> int:
        """The first bar that opens at or after `ts`."""
        floor = self.floor(ts)
        return floor if floor == ts else self.after(floor)

    def align(self, span: Span) -> Span:
        """The cells of the bars that open within `span`."""
        return Span(self.ceil(span.start), self.ceil(span.end))

    def on_grid(self, ts: Int64Array) -> npt.NDArray[np.bool_]:
        """For each stamp, whether a bar may open there."""
        if len(ts) == 0:
            return np.zeros(0, dtype=bool)
        if self.is_uniform:
            offsets: Int64Array = (ts - self.timeframe.origin) % self.step
        else:
            opens = self._opens(int(ts.min()), int(ts.max()))
            offsets = (ts - opens[np.searchsorted(opens, ts, "right") - 1]) % self.step
        on: npt.NDArray[np.bool_] = offsets == 0
        return on

    def cells(self, ts: Int64Array) -> Coverage:
        """The cells of bars that open at `ts` (ascending, on the grid)."""
        if len(ts) == 0:
            return EMPTY
        if self.is_uniform:
            # Bars without a hole between them are the common case, and need no array.
            if int(ts[-1]) - int(ts[0]) == (len(ts) - 1) * self.step:
                return Coverage.of(Span(ts[0], int(ts[-1]) + self.step))
            ends = ts + self.step
        else:
            opens = self._opens(int(ts[0]), int(ts[-1]) + self.step)
            i = np.searchsorted(opens, ts, "right")
            ends = np.minimum(ts + self.step, np.append(opens, np.iinfo(np.int64).max)[i])
        return Coverage.from_arrays(ts, ends)

    def count(self, cells: Coverage) -> int:
        """How many bars the cells hold."""
        if self.is_uniform:
            return cells.length // self.step
        return len(self.stamps(cells))

    def stamps(self, cells: Coverage) -> Int64Array:
        """The opens of all bars in the cells: ascending int64 nanoseconds, one per bar."""
        if not cells:
            return np.zeros(0, dtype=np.int64)
        if self.is_uniform:
            return np.concatenate([np.arange(s, e, self.step) for s, e in cells.spans])
        hull = cells.hull
        opens = self._opens(hull.start, hull.end)
        edges = np.append(opens, hull.end)
        stamps = np.concatenate([np.arange(a, b, self.step) for a, b in itertools.pairwise(edges)])
        return stamps[cells.holds(stamps)]

    def expected(self, span: Span) -> Coverage:
        """The cells within the aligned `span` whose bars the calendar expects: those that meet a session."""
        if self.is_always_open or span.is_empty:
            return Coverage.of(span)
        if not self.timeframe.is_intraday and isinstance(self.calendar, DatedCalendar):
            dates = self.calendar.dates(span)
            sessions = Coverage.from_arrays(dates, dates + DAY)
        else:
            sessions = self.calendar.sessions(span)
        sessions = sessions.clip(span)
        if not sessions:
            return EMPTY
        if self.is_uniform:
            origin, step = self.timeframe.origin, self.step
            starts = sessions.starts - (sessions.starts - origin) % step
            ends = sessions.ends + (origin - sessions.ends) % step
            return Coverage.from_arrays(starts, ends).clip(span)
        # A session's last bar may be cut short by its close, and still owns the cell up to the next stamp.
        ends = np.array([self.ceil(int(end)) for end in sessions.ends], dtype=np.int64)
        return Coverage.from_arrays(sessions.starts, ends).clip(span)

    def _opens(self, first: int, last: int) -> Int64Array:
        """Session opens around `[first, last]`, with one before `first`; the clock where there is none."""
        reach = 14 * DAY  # longer than any closure since 1914 that a calendar in use knows
        opens = self.calendar.sessions(Span(first - reach, last + reach)).starts
        opens = opens[opens <= last]
        if len(opens) == 0 or opens[0] > first:
            opens = np.insert(opens, 0, (first - reach) // DAY * DAY)
        return opens
