"""The five states partition a range, and a row beats an answer, which beats an absence."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.calendars import WeeklyCalendar
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.states import STATES, bar_states, states_if_full, states_of_cells, whole_cells
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import DAY, HOUR

GRID = Grid(Timeframe.parse("1h"))
SPAN = Span(0, 10 * HOUR)


def hours(*opens: int) -> Coverage:
    return Coverage((hour * HOUR, (hour + 1) * HOUR) for hour in opens)


def stamps(*opens: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(opens, dtype=np.int64) * HOUR


def test_a_row_beats_an_answer_and_an_answer_beats_an_absence() -> None:
    states = bar_states(SPAN, GRID, stamps(1, 2), hours(2, 3, 4), hours(2, 4, 5), hours(1, 4, 6))
    assert states.present == hours(1, 2)
    assert states.no_trade == hours(3, 4)
    assert states.absent == hours(5)
    assert states.unknown == hours(0, 6, 7, 8, 9)
    assert states.closed == EMPTY
    assert states.damaged == hours(6), "of what was lost, only what nobody has answered since"
    assert states.holes == hours(0, 5, 6, 7, 8, 9)
    assert states.counts == {"present": 2, "no_trade": 2, "closed": 0, "absent": 1, "unknown": 5}


def test_where_every_bar_is_there_nothing_else_is_asked() -> None:
    full = Coverage.of(SPAN)
    states = states_if_full(SPAN, GRID, full)
    assert states == states_of_cells(SPAN, GRID, full, hours(1), hours(2), hours(3))
    assert states is not None
    assert states.counts == {"present": 10, "no_trade": 0, "closed": 0, "absent": 0, "unknown": 0}
    for some in (EMPTY, hours(*range(9)), hours(*range(1, 10)), hours(0, 2), hours(*range(11))):
        assert states_if_full(SPAN, GRID, some) is None


def test_a_bar_is_answered_only_if_its_whole_cell_was() -> None:
    half = Coverage.of(Span(HOUR // 2, 2 * HOUR + HOUR // 2))
    assert bar_states(SPAN, GRID, stamps(), half, EMPTY).no_trade == hours(1)
    assert whole_cells(half, GRID, SPAN) == hours(1)
    assert whole_cells(Coverage.of(SPAN), GRID, SPAN) == Coverage.of(SPAN)


def test_a_bar_that_exists_is_present_although_the_calendar_is_closed() -> None:
    """2024-01-05 is a Friday; the market of this calendar opens on Mondays at 00:00 and closes on Fridays."""
    calendar = WeeklyCalendar("UTC", ("Monday", "00:00"), ("Friday", "00:00"))
    day, start = Grid(Timeframe.parse("1d"), calendar), 1_704_412_800 * 10**9
    span = Span(start, start + 4 * DAY)
    states = bar_states(span, day, np.array([start]), EMPTY, EMPTY)
    assert states.present == Coverage.of(Span(start, start + DAY))
    assert states.closed == Coverage.of(Span(start + DAY, start + 3 * DAY))
    assert states.unknown == Coverage.of(Span(start + 3 * DAY, start + 4 * DAY))


cells = st.sets(st.integers(0, 9))


@given(
    rows=cells, answered=cells, absent=cells, damaged=cells, first=st.integers(0, 10), more=st.integers(0, 10)
)
def test_states_partition_the_range_and_a_part_has_the_states_of_the_whole(
    rows: set[int], answered: set[int], absent: set[int], damaged: set[int], first: int, more: int
) -> None:
    def state_of(hour: int) -> str:
        if hour in rows:
            return "present"
        if hour in answered:
            return "no_trade"
        return "absent" if hour in absent else "unknown"

    states = bar_states(SPAN, GRID, stamps(*sorted(rows)), hours(*answered), hours(*absent), hours(*damaged))
    for name in STATES:
        assert getattr(states, name) == hours(*(hour for hour in range(10) if state_of(hour) == name))
    assert states.damaged == hours(*damaged) & states.unknown
    assert sum(states.counts.values()) == 10
    part = states.clip(Span(first * HOUR, max(first, min(first + more, 10)) * HOUR))
    for name in STATES:
        assert getattr(part, name) == getattr(states, name).clip(part.span)
