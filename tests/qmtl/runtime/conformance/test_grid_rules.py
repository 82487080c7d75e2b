"""Bars that open where none may, and bars beside or between the sessions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.frames import VALUES, bars
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE
from qmtl.runtime.conformance.context_window import ContextWindow
from qmtl.runtime.conformance.grid_rules import off_grid, outside_sessions
from qmtl.runtime.conformance.thresholds import DEFAULT_THRESHOLDS


class Weekdays:
    """Open from 13:30 to 20:00 UTC from Monday to Friday."""

    def sessions(self, span: Span) -> Coverage:
        days = range(span.start // DAY - 2, span.end // DAY + 2)
        return Coverage(
            (day * DAY + 27 * HOUR // 2, day * DAY + 20 * HOUR) for day in days if (day + 3) % 7 < 5
        )


MINUTES = Grid(Timeframe.parse("1m"))
HOURS = Grid(Timeframe.parse("1h"), Weekdays())
ANCHORED = Grid(Timeframe.parse("1h"), Weekdays(), anchor="session")
DAYS = Grid(Timeframe.parse("1d"), Weekdays())
FRIDAY = DAY  # 1970-01-02
EXTENDED, CLOSED = "temporal.extended_hours", "temporal.closed_day"


def window(grid: Grid, ts: list[int], first: int = 0, last: int | None = None) -> ContextWindow:
    frame = bars(np.array(ts, dtype=np.int64), dict.fromkeys(VALUES, np.ones(len(ts))))
    return ContextWindow(frame, grid, first, len(ts) if last is None else last)


@given(st.sets(st.integers(0, 20 * 6), min_size=1).map(sorted))
def test_off_the_grid_against_a_remainder(tens: list[int]) -> None:
    """Stamps of whole tens of seconds: those that are no whole minute lie off the grid."""
    ts = np.array(tens, dtype=np.int64) * (MINUTE // 6)
    gaps = np.flatnonzero(np.diff(ts) != MINUTE)
    assert off_grid(ts, gaps, MINUTES).tolist() == [row for row, n in enumerate(tens) if n % 6]


@given(st.sets(st.integers(0, 47), min_size=1).map(sorted))
def test_off_an_anchored_grid(halves: list[int]) -> None:
    """The count begins at 13:30, so bars of the session open at half past."""
    ts = np.array(halves, dtype=np.int64) * (HOUR // 2) + FRIDAY + 27 * HOUR // 2
    gaps = np.flatnonzero(np.diff(ts) != HOUR)
    assert off_grid(ts, gaps, ANCHORED).tolist() == [row for row, n in enumerate(halves) if n % 2]


@pytest.mark.parametrize(
    ("hour", "rule"),
    [
        (13, None),  # its cell meets the session that opens at 13:30
        (19, None),
        (12, EXTENDED),
        (20, EXTENDED),
        (5, EXTENDED),  # eight and a half hours before the open, nine after the close on Thursday
        (4, EXTENDED),  # eight hours after the close on Thursday
        (72 + 5, EXTENDED),  # eight and a half hours before the open on Monday
        (72 + 4, CLOSED),  # nine and a half
        (28, EXTENDED),  # eight hours after the close
        (29, CLOSED),  # nine hours after it: the span around a session is open at its end
        (24 + 15, CLOSED),  # on Saturday
    ],
)
def test_a_bar_beside_a_session_and_one_of_a_closed_day(hour: int, rule: str | None) -> None:
    found = outside_sessions(window(HOURS, [FRIDAY + hour * HOUR]), DEFAULT_THRESHOLDS)
    at = {name: ts.tolist() for name, ts in found.items() if len(ts)}
    assert at == ({} if rule is None else {rule: [FRIDAY + hour * HOUR]})


def test_only_judged_rows_are_named() -> None:
    hours = [FRIDAY + hour * HOUR for hour in (10, 11, 12, 13)]
    found = outside_sessions(window(HOURS, hours, first=1, last=2), DEFAULT_THRESHOLDS)
    assert found[EXTENDED].tolist() == [FRIDAY + 11 * HOUR]
    assert found[CLOSED].tolist() == []


def test_a_daily_bar_is_never_in_extended_hours() -> None:
    days = [FRIDAY, FRIDAY + DAY, FRIDAY + 3 * DAY]
    found = outside_sessions(window(DAYS, days), DEFAULT_THRESHOLDS)
    assert {rule: ts.tolist() for rule, ts in found.items()} == {CLOSED: [FRIDAY + DAY]}


def test_a_venue_that_never_closes_has_no_bar_outside() -> None:
    assert outside_sessions(window(MINUTES, [0, MINUTE]), DEFAULT_THRESHOLDS) == {}
