"""A run of rows under judgement, against walks over the minutes."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.foundation.frames import VALUES, bars
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import DAY, HOUR
from qmtl.runtime.conformance.context_window import NEIGHBOURS, ContextWindow, neighbours


class Mornings:
    """Open from 02:00 to 05:00 UTC each day."""

    def sessions(self, span: Span) -> Coverage:
        days = range(span.start // DAY - 1, span.end // DAY + 2)
        return Coverage((day * DAY + 2 * HOUR, day * DAY + 5 * HOUR) for day in days)


class HalfPastMornings:
    """Open from 02:30 to 05:00 UTC each day, so that hours counted from the open end with half a bar."""

    def sessions(self, span: Span) -> Coverage:
        days = range(span.start // DAY - 1, span.end // DAY + 2)
        return Coverage((day * DAY + 5 * HOUR // 2, day * DAY + 5 * HOUR) for day in days)


ALWAYS = Grid(Timeframe.parse("1h"))
MORNINGS = Grid(Timeframe.parse("1h"), Mornings())
ANCHORED = Grid(Timeframe.parse("1h"), HalfPastMornings(), anchor="session")
GRIDS = pytest.mark.parametrize("grid", [ALWAYS, MORNINGS, ANCHORED], ids=["24x7", "mornings", "anchored"])
BARS = 72


def stamps_of(grid: Grid) -> list[int]:
    """The bars of the first days that may be there at all."""
    return grid.stamps(Coverage.of(grid.align(Span(0, BARS * HOUR)))).tolist()


def make_window(
    grid: Grid,
    ts: list[int],
    first: int = 0,
    last: int | None = None,
    answered: Coverage | None = None,
) -> ContextWindow:
    ones = np.ones(len(ts))
    frame = bars(np.array(ts, dtype=np.int64), dict.fromkeys(VALUES, ones))
    return ContextWindow(frame, grid, first, len(ts) if last is None else last, answered)


places = st.sets(st.integers(0, BARS - 1), min_size=1, max_size=40).map(sorted)


@GRIDS
@settings(max_examples=40)
@given(numbers=places)
def test_missing_bars_against_a_walk_over_the_grid(grid: Grid, numbers: list[int]) -> None:
    """Between two rows all expected bars are missing; a row that nobody expects is none of them."""
    every = stamps_of(grid)
    ts = sorted({every[n % len(every)] for n in numbers})
    window = make_window(grid, ts)
    expected = set(grid.stamps(grid.expected(window.hull)).tolist())
    missing = [len([t for t in expected if a < t < b]) for a, b in itertools.pairwise(ts)]
    assert window.missing.tolist() == [*missing, 0]
    assert window.is_expected.tolist() == [t in expected for t in ts]
    assert window.gaps.tolist() == [i for i, (a, b) in enumerate(itertools.pairwise(ts)) if b != a + HOUR]
    before = window.cells_before(window.ts)
    counts = [len([t for t in expected if t < at]) for at in ts]
    assert (before - before[0]).tolist() == [count - counts[0] for count in counts]


@GRIDS
@settings(max_examples=40)
@given(numbers=places, heard=st.sets(st.integers(0, BARS - 1)))
def test_unanswered_bars_have_neither_row_nor_answer(grid: Grid, numbers: list[int], heard: set[int]) -> None:
    every = stamps_of(grid)
    ts = sorted({every[n % len(every)] for n in numbers})
    spoken = sorted({every[n % len(every)] for n in heard})
    window = make_window(grid, ts, answered=grid.cells(np.array(spoken, dtype=np.int64)))
    expected = grid.stamps(grid.expected(window.hull)).tolist()
    silent = [t for t in expected if t not in ts and t not in spoken]
    assert grid.stamps(window.unanswered).tolist() == silent


def test_without_answers_all_was_answered_for() -> None:
    assert make_window(ALWAYS, [0, 9 * HOUR]).unanswered == EMPTY


def test_half_an_answered_bar_is_not_answered() -> None:
    answered = Coverage.of(Span(0, HOUR + 1), Span(3 * HOUR, 9 * HOUR))
    window = make_window(ALWAYS, [0, 4 * HOUR], answered=answered)
    assert window.unanswered == Coverage.of(Span(HOUR, 3 * HOUR))


def test_the_hull_goes_from_cell_to_cell() -> None:
    assert make_window(ALWAYS, [HOUR + 5, 3 * HOUR]).hull == Span(HOUR, 4 * HOUR)
    open_ = 5 * HOUR // 2
    assert make_window(ANCHORED, [open_, open_ + HOUR]).hull == Span(open_, open_ + 2 * HOUR)


def test_only_the_rows_between_first_and_last_are_judged() -> None:
    window = make_window(ALWAYS, [n * HOUR for n in range(6)], first=2, last=4)
    rows = np.array([0, 1, 2, 3, 4, 5])
    assert window.judged(rows).tolist() == [2, 3]
    assert window.stamps_of(rows).tolist() == [2 * HOUR, 3 * HOUR]


def test_a_missing_volume_is_nan_among_the_columns() -> None:
    window = make_window(ALWAYS, [0, HOUR])
    frame = window.rows.with_columns(volume=pl.Series([None, 2.0]))
    volume = ContextWindow(frame, ALWAYS, 0, 2).columns["volume"]
    assert np.isnan(volume[0])
    assert volume[1] == 2.0


@given(st.integers(1, 40), st.lists(st.integers(0, 39), max_size=5), st.integers(1, 6))
def test_neighbours_are_the_rows_on_either_side_without_the_row_itself(
    count: int, centres: list[int], reach: int
) -> None:
    inside = [centre for centre in centres if centre < count]
    around, there = neighbours(count, np.array(inside, dtype=np.intp), reach)
    assert around.shape == there.shape == (len(inside), 2 * reach)
    for row, centre in enumerate(inside):
        wanted = [n for n in range(centre - reach, centre + reach + 1) if n != centre]
        assert there[row].tolist() == [0 <= n < count for n in wanted]
        assert around[row][there[row]].tolist() == [n for n in wanted if 0 <= n < count]
    assert ((around >= 0) & (around < count)).all()


def test_neighbours_reach_one_row_less_far_than_the_context() -> None:
    around, _ = neighbours(1000, np.array([500]))
    assert around.min() == 500 - NEIGHBOURS
    assert around.max() == 500 + NEIGHBOURS
