"""Silences and other timeframes, against plain loops over the minutes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.foundation.frames import VALUES, bars
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import DAY, MINUTE, to_ns
from qmtl.runtime.conformance.context_window import CONTEXT, NEIGHBOURS, ContextWindow
from qmtl.runtime.conformance.rhythm import NO_SILENCE, Silences, last_silence, other_timeframe, silences
from qmtl.runtime.conformance.thresholds import DEFAULT_THRESHOLDS as LIMITS

GRID = Grid(Timeframe.parse("1m"))


def make_window(
    numbers: list[int], first: int = 0, last: int | None = None, answered: Coverage | None = None
) -> ContextWindow:
    ts = np.array(numbers, dtype=np.int64) * MINUTE
    frame = bars(ts, dict.fromkeys(VALUES, np.ones(len(ts))))
    return ContextWindow(frame, GRID, first, len(numbers) if last is None else last, answered)


def minutes(first: int, end: int) -> Span:
    return Span(first * MINUTE, end * MINUTE)


def share_of(numbers: list[int], first: int, last: int) -> float | None:
    """The share of missing minutes from row `first` to row `last`, one added to both counts."""
    rows = last - first + 1
    if rows < LIMITS.silence_rows:
        return None
    absent = numbers[last] - numbers[first] + 1 - rows
    return (absent + 1) / (rows + absent + 2)


def oracle(numbers: list[int]) -> Silences:
    """Each gap by itself, with plain arithmetic."""
    gaps = [b - a - 1 for a, b in itertools.pairwise(numbers)]
    final = len(numbers) - 1
    implausible, unchecked = EMPTY, EMPTY
    for row, gap in enumerate(gaps):
        if gap < 2:
            continue
        cells = Coverage.of(minutes(numbers[row] + 1, numbers[row + 1]))
        sides = [
            share_of(numbers, max(row - CONTEXT + 1, 0), row),
            share_of(numbers, row + 1, min(row + CONTEXT, final)),
        ]
        shares = [share for share in sides if share is not None]
        if not shares:
            unchecked |= cells
            continue
        around = [
            gaps[i] for i in range(max(row - NEIGHBOURS, 0), min(row + NEIGHBOURS, final - 1) + 1) if i != row
        ]
        third = sorted([0, 0, 0, *around])[-3]
        is_unlikely = gap * math.log(max(shares)) < math.log(LIMITS.silence_chance)
        if is_unlikely and gap >= LIMITS.silence_times_gap * third:
            implausible |= cells
    return Silences(implausible, unchecked)


@st.composite
def rhythms(draw: st.DrawFn) -> list[int]:
    """Minutes with rows: steps of one, mostly, and a few gaps of any length."""
    count = draw(st.integers(2, 200))
    steps = [1] * count
    for _ in range(draw(st.integers(0, 8))):
        steps[draw(st.integers(0, count - 1))] = draw(st.sampled_from([2, 3, 6, 9, 15, 30, 200]))
    return np.cumsum([0, *steps]).tolist()


@settings(max_examples=60)
@given(rhythms())
def test_silences_against_a_loop_over_the_gaps(numbers: list[int]) -> None:
    assert silences(make_window(numbers), LIMITS) == oracle(numbers)


def test_the_longest_silence_that_a_perfect_rhythm_explains() -> None:
    """64 rows on either side: the share is 1/66, and (1/66)**5 = 8e-10 is below 1e-9, (1/66)**4 is not."""
    four = [*range(64), *range(68, 132)]
    five = [*range(64), *range(69, 133)]
    assert silences(make_window(four), LIMITS) == NO_SILENCE
    assert silences(make_window(five), LIMITS).implausible == Coverage.of(minutes(64, 69))


def test_a_gap_between_few_rows_cannot_be_judged() -> None:
    few = [*range(20), *range(400, 420)]
    assert silences(make_window(few), LIMITS) == Silences(EMPTY, Coverage.of(minutes(20, 400)))


def test_a_gap_no_longer_than_those_around_it_is_no_silence() -> None:
    """Four gaps of 30 minutes within 64 rows: each has three like it beside it, the third of which counts."""
    numbers = np.cumsum([0, *[1] * 40, 31, *[1] * 10, 31, *[1] * 10, 31, *[1] * 10, 31, *[1] * 40]).tolist()
    assert silences(make_window(numbers), LIMITS) == NO_SILENCE
    once = np.cumsum([0, *[1] * 70, 31, *[1] * 70]).tolist()
    assert silences(make_window(once), LIMITS).implausible == Coverage.of(minutes(71, 101))


def test_only_gaps_behind_judged_rows_are_named() -> None:
    numbers = [*range(70), *range(100, 170), *range(200, 270)]
    both = Coverage.of(minutes(70, 100), minutes(170, 200))
    assert silences(make_window(numbers), LIMITS).implausible == both
    assert silences(make_window(numbers, first=70), LIMITS).implausible == Coverage.of(minutes(170, 200))
    assert silences(make_window(numbers, last=69), LIMITS) == NO_SILENCE


def test_a_gap_that_nobody_answered_for_is_judged_up_to_that_cell_only() -> None:
    numbers = [*range(70), *range(130, 200)]
    heard = Coverage.of(minutes(0, 100), minutes(110, 200))
    found = silences(make_window(numbers, answered=heard), LIMITS)
    assert found.implausible == Coverage.of(minutes(70, 100))
    short = Coverage.of(minutes(0, 71), minutes(110, 200))
    assert silences(make_window(numbers, answered=short), LIMITS) == NO_SILENCE


@pytest.mark.parametrize(("reach", "end"), [(74, None), (75, 75), (400, 400)])
def test_the_silence_after_the_last_row_is_judged_by_the_rows_before_it(reach: int, end: int | None) -> None:
    """64 rows before: five missing minutes are too many, four are not."""
    window = make_window([*range(70)])
    found = last_silence(window, Coverage.of(minutes(0, reach)), LIMITS)
    assert found.implausible == (EMPTY if end is None else Coverage.of(minutes(70, end)))
    assert found.unchecked == EMPTY


def test_the_last_silence_ends_where_nobody_answered() -> None:
    window = make_window([*range(70)])
    heard = Coverage.of(minutes(0, 80), minutes(90, 200))
    assert last_silence(window, heard, LIMITS).implausible == Coverage.of(minutes(70, 80))
    assert last_silence(window, Coverage.of(minutes(90, 200)), LIMITS) == NO_SILENCE
    assert last_silence(window, EMPTY, LIMITS) == NO_SILENCE


def test_the_last_silence_after_few_rows_cannot_be_judged() -> None:
    found = last_silence(make_window([*range(31)]), Coverage.of(minutes(0, 100)), LIMITS)
    assert found == Silences(EMPTY, Coverage.of(minutes(31, 100)))


class EveryDay:
    """A calendar of whole days that knows no holidays."""

    def sessions(self, span: Span) -> Coverage:
        return Coverage.of(Span(span.start // DAY * DAY, (span.end // DAY + 1) * DAY))


@pytest.mark.parametrize(
    ("date", "is_holiday"),
    [("2020-12-25", True), ("2021-01-01", True), ("2020-12-28", False), ("2021-06-25", False)],
)
def test_christmas_and_new_year_are_not_judged_on_a_calendar_of_hours(date: str, is_holiday: bool) -> None:
    start = to_ns(date)
    ts = np.array([start + n * MINUTE for n in (*range(-70, 0), *range(600, 670))], dtype=np.int64)
    frame = bars(ts, dict.fromkeys(VALUES, np.ones(len(ts))))
    grid = Grid(Timeframe.parse("1m"), EveryDay())
    found = silences(ContextWindow(frame, grid, 0, len(ts)), LIMITS)
    silent = Coverage.of(Span(start, start + 600 * MINUTE))
    assert found == (Silences(EMPTY, silent) if is_holiday else Silences(silent, EMPTY))


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 5, 6, 10]), st.integers(1, 50)), min_size=1, max_size=5)
)
def test_other_timeframes_against_windows_of_steps(runs: list[tuple[int, int]]) -> None:
    """Oracle: each run of 32 steps with a common divisor names all its rows."""
    steps = [step for step, count in runs for _ in range(count)]
    numbers = np.cumsum([0, *steps]).tolist()
    length = LIMITS.other_timeframe_steps
    named = {
        row
        for start in range(len(steps) - length + 1)
        if math.gcd(*steps[start : start + length]) > 1
        for row in range(start, start + length + 1)
    }
    found = other_timeframe(make_window(numbers), LIMITS)
    assert (found // MINUTE).tolist() == [numbers[row] for row in sorted(named)]
