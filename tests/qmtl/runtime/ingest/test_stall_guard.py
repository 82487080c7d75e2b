"""A vendor is read while it brings something further, and a hundred pages longer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.calendars import calendar_named
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, MINUTE, to_ns
from qmtl.runtime.ingest.stall_guard import FRUITLESS_PAGES, StallGuard

DAWN = to_ns("2024-01-01")
MINUTES = Grid(Timeframe.parse("1m"))


def read(patience: StallGuard, *pages: Span) -> bool:
    for page in pages:
        patience.read(page)
    return patience.is_spent


def minutes(first: int, last: int) -> Span:
    return Span(DAWN + first * MINUTE, DAWN + last * MINUTE)


@pytest.mark.parametrize(
    "same",
    [minutes(0, 10), minutes(3, 4), Span(DAWN + 7, DAWN + 7), Span(DAWN + MINUTE + 1, DAWN + MINUTE + 2)],
    ids=["repeated", "within", "empty", "sliver"],
)
def test_a_hundred_pages_that_bring_nothing_spend_it(same: Span) -> None:
    patience = StallGuard(MINUTES)
    assert not read(patience, minutes(0, 10), *[same] * (FRUITLESS_PAGES - 1))
    assert read(patience, same)
    assert patience.pages == FRUITLESS_PAGES + 1


def test_one_further_bar_begins_the_count_anew() -> None:
    patience = StallGuard(MINUTES)
    again = [minutes(0, 10)] * (FRUITLESS_PAGES - 1)
    assert not read(patience, minutes(0, 10), *again, minutes(9, 11), *again)
    assert read(patience, minutes(0, 10))


def test_a_silence_and_a_night_are_answers_too() -> None:
    grid = Grid(Timeframe.parse("1m"), calendar_named("FX", {}))
    patience = StallGuard(grid)
    assert not read(patience, *(minutes(at, at + 5) for at in range(0, 3 * DAY // MINUTE, 5)))


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=3 * FRUITLESS_PAGES))
def test_it_is_spent_exactly_when_the_last_hundred_touched_nothing_new(pages: list[tuple[int, int]]) -> None:
    """Against a naive set of cells, in tenths of a minute."""
    patience, touched, fruitless = StallGuard(MINUTES), set[int](), 0
    for a, b in pages:
        first, last = min(a, b), max(a, b)
        cells = {tenth // 10 for tenth in range(first, last)}
        fruitless = fruitless + 1 if cells <= touched else 0
        touched |= cells
        patience.read(Span(DAWN + first * MINUTE // 10, DAWN + last * MINUTE // 10))
        assert patience.is_spent == (fruitless >= FRUITLESS_PAGES)
