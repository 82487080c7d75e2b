"""Where the bars of a series lie: its timeframe laid over its calendar.

Each bar owns a cell `[ts, next ts)`. All coverages of this module are unions of whole cells, so that the
five states of a range partition its grid.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from qmtl.foundation.calendars import AlwaysOpen, Calendar, DatedCalendar
from qmtl.foundation.errors import InvalidRequestError, QmtlError
from qmtl.foundation.facts import Anchor
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array, Span
from qmtl.foundation.times import DAY, EARLIEST, LATEST

T = TypeVar("T")


@dataclass(frozen=True)
class Grid:
    """The bars that a calendar expects of a timeframe.

    With `anchor="clock"` a bar may open at each multiple of the step (weeks: Mondays). With
    `anchor="session"`, for intraday timeframes, each session's open starts the count anew, and the cell
    before an open is cut short by it. `series` is whose bars they are, for errors only.
    """

    timeframe: Timeframe
    calendar: Calendar = field(default_factory=AlwaysOpen)
    anchor: Anchor = "clock"
    series: object = field(default=None, compare=False, repr=False)

    # Used several times in every fetch, and always the same for one grid.
    @cached_property
    def step(self) -> int:
        return self.timeframe.step

    @cached_property
    def is_uniform(self) -> bool:
        """Whether every cell is exactly one step long."""
        return self.anchor == "clock" or not self.timeframe.is_intraday or self.is_always_open

    @cached_property
    def is_always_open(self) -> bool:
        return isinstance(self.calendar, AlwaysOpen)

    def floor(self, ts: int) -> int:
        """The open of the bar whose cell holds `ts`."""
        if self.is_uniform:
            return ts - (ts - self.timeframe.origin) % self.step
        return int(self._cells_of(np.array([ts]))[0][0])

    def after(self, ts: int) -> int:
        """Where the cell that opens at the grid stamp `ts` ends."""
        if self.is_uniform:
            return ts + self.step
        return int(self._cells_of(np.array([ts]))[1][0])

    def ceil(self, ts: int) -> int:
        """The first bar that opens at or after `ts`."""
        floor = self.floor(ts)
        return floor if floor == ts else self.after(floor)

    def floors(self, ts: Int64Array) -> Int64Array:
        """`floor` of each instant; any order."""
        return self._cells_of(ts)[0]

    def ceils(self, ts: Int64Array) -> Int64Array:
        """`ceil` of each instant; any order."""
        floors, ends = self._cells_of(ts)
        return np.where(floors == ts, ts, ends)

    def ends(self, ts: Int64Array) -> Int64Array:
        """Where the cell ends that holds each instant; any order."""
        return self._cells_of(ts)[1]

    def align(self, span: Span) -> Span:
        """The cells of the bars that open within `span`, as far as they fit into int64 nanoseconds."""
        last = LATEST - self.step + 1
        start, end = span
        if end > last:
            start, end = min(start, last), last
        if self.is_uniform:
            origin, step = self.timeframe.origin, self.step
            aligned = (start + (origin - start) % step, end + (origin - end) % step)
        else:
            aligned = (self.ceil(start), self.ceil(end))
        return span if aligned == span else Span(*aligned)

    def on_grid(self, ts: Int64Array) -> npt.NDArray[np.bool_]:
        """For each stamp, whether a bar may open there."""
        floors = self._uniform_floors(ts) if self.is_uniform else self.floors(ts)
        on: npt.NDArray[np.bool_] = floors == ts
        return on

    def cells(self, ts: Int64Array) -> Coverage:
        """The cells of bars that open at `ts` (ascending, on the grid)."""
        if len(ts) == 0:
            return EMPTY
        # Bars without a hole between them are the common case, and need no array.
        if self.is_uniform and int(ts[-1]) - int(ts[0]) == (len(ts) - 1) * self.step:
            return Coverage.of(Span(ts[0], int(ts[-1]) + self.step))
        return Coverage.from_arrays(ts, self._cells_of(ts)[1])

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
        edges = np.append(self._anchors(hull.start, hull.end), hull.end)
        stamps = np.concatenate([np.arange(a, b, self.step) for a, b in itertools.pairwise(edges)])
        return stamps[cells.holds(stamps)]

    def expected(self, span: Span) -> Coverage:
        """The cells within the aligned `span` whose bars the calendar expects: those that meet a session."""
        if self.is_always_open or span.is_empty:
            return Coverage.of(span)
        if not self.timeframe.is_intraday and isinstance(self.calendar, DatedCalendar):
            dates = self._call_calendar(self.calendar.dates, span, np.ndarray)
            sessions = Coverage.from_arrays(dates, dates + DAY)
        else:
            sessions = self.sessions(span)
        sessions = sessions.clip(span)
        if not sessions:
            return EMPTY
        # A session's last bar may be cut short by its close, and still owns the cell up to the next stamp.
        return Coverage.from_arrays(self.floors(sessions.starts), self.ceils(sessions.ends)).clip(span)

    def sessions(self, span: Span) -> Coverage:
        """When the venue is open, at least within `span`; `InvalidRequestError` where its calendar fails."""
        return self._call_calendar(self.calendar.sessions, span, Coverage)

    def try_calendar(self, span: Span) -> None:
        """Query the calendar now for all that is needed when bars of `span` are read and judged.

        Raises `InvalidRequestError` if it fails, so that no work is started that cannot be finished.
        """
        if self.is_always_open or span.is_empty:
            return
        self.expected(self.align(span))
        if self.timeframe.is_intraday:
            # Bars outside a session and those of closed days are distinguished by the sessions around them.
            self.sessions(Span(max(span.start - DAY, EARLIEST), min(span.end + DAY, LATEST)))

    def _call_calendar(self, question: Callable[[Span], T], span: Span, kind: type[T]) -> T:
        """The answer of the calendar. A user's own calendar may fail or return anything."""
        try:
            answer = question(span)
        except QmtlError as error:
            error.series = error.series or (None if self.series is None else str(self.series))
            raise
        except Exception as cause:  # whatever it raises is its own failure, and is named in the error
            raise self._unusable(f"{type(cause).__name__}: {cause}", span) from cause
        if not isinstance(answer, kind):
            raise self._unusable(f"it gave a {type(answer).__name__}, not a {kind.__name__}", span)
        return answer

    def _unusable(self, why: str, span: Span) -> InvalidRequestError:
        return InvalidRequestError(
            f"the calendar {type(self.calendar).__name__} cannot be used",
            series=self.series,
            span=span,
            why=why,
            next_step="correct its sessions(span): a Coverage of the times at which the venue is open",
        )

    def _cells_of(self, ts: Int64Array) -> tuple[Int64Array, Int64Array]:
        """For each instant the start and the end of the cell that holds it."""
        if self.is_uniform or len(ts) == 0:
            floors = self._uniform_floors(ts)
            return floors, floors + self.step
        anchors = self._anchors(int(ts.min()), int(ts.max()) + self.step)
        following = np.searchsorted(anchors, ts, "right")
        floors = ts - (ts - anchors[following - 1]) % self.step
        return floors, np.minimum(floors + self.step, np.append(anchors, np.iinfo(np.int64).max)[following])

    def _uniform_floors(self, ts: Int64Array) -> Int64Array:
        # numpy divides by one number three times as quickly as it takes the remainder.
        floors = ts - self.timeframe.origin
        floors //= self.step
        floors *= self.step
        floors += self.timeframe.origin
        return floors

    def _anchors(self, first: int, last: int) -> Int64Array:
        """Where the count starts anew, within `[first, last]` and once at or before `first`; ascending.

        A session's open is an anchor. Where no session opens for about two weeks the count goes back to the
        clock, at a midnight, so that it never depends on how far back somebody looks.
        """
        asked = Span(max(first - _ANCHOR_HOLDS - DAY, EARLIEST), last + 1)
        opens = self.sessions(asked).starts
        # A calendar may cut its first session to what was asked, so that is no open; an open as old as that
        # would not hold any more.
        opens = opens[(opens > asked.start) & (opens <= last)]
        midnights = (opens + _ANCHOR_HOLDS) // DAY * DAY
        next_opens = np.append(opens[1:], last + 1)
        midnights = midnights[midnights < next_opens]
        anchors = np.sort(np.concatenate([opens, midnights]))
        if len(anchors) == 0 or anchors[0] > first:
            anchors = np.insert(anchors, 0, first // DAY * DAY)
        return anchors


# Longer than any closure since 1914 that a calendar in use knows.
_ANCHOR_HOLDS = 14 * DAY
