"""Who brought what follows from what was missing before each turn, and from nothing else."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.runtime.planning.attribution import Served, Turn, brought, served
from qmtl.runtime.planning.request import Tier

SPAN = Span(0, 20)


class Answer(NamedTuple):
    start: int
    end: int
    source: str


def of(cells: set[int]) -> Coverage:
    """One cell per number, a nanosecond long."""
    return Coverage((cell, cell + 1) for cell in cells)


def test_without_a_turn_nobody_brought_anything() -> None:
    assert list(brought((), of({1, 2}))) == []


def test_a_turn_is_credited_with_what_the_next_one_no_longer_misses() -> None:
    turns = (Turn(Tier.BACKFILL, of({1, 2, 3, 4})), Turn(Tier.LIVE, of({3, 4})))
    assert list(brought(turns, of({4}))) == [(Tier.BACKFILL, of({1, 2})), (Tier.LIVE, of({3}))]


def test_a_turn_that_brought_nothing_is_named_with_nothing() -> None:
    assert list(brought((Turn(Tier.BACKFILL, of({1})),), of({1}))) == [(Tier.BACKFILL, EMPTY)]


def test_answers_are_clipped_split_by_tier_and_sorted_by_time() -> None:
    rows = served(
        [Answer(10, 30, "late"), Answer(-5, 10, "early")],
        SPAN,
        of({0}),
        turns=(Turn(Tier.BACKFILL, of({0, 4, 5, 12})),),
        answered_by=Tier.STORAGE,
    )
    assert rows == (
        Served(Tier.STORAGE, "early", of({1, 2, 3, 6, 7, 8, 9})),
        Served(Tier.BACKFILL, "early", of({4, 5})),
        Served(Tier.STORAGE, "late", of({10, 11, *range(13, 20)})),
        Served(Tier.BACKFILL, "late", of({12})),
    )


def test_an_answer_that_has_expired_serves_nothing() -> None:
    rows = served([Answer(0, 20, "a")], SPAN, Coverage.of(SPAN), turns=(), answered_by=Tier.CACHE)
    assert rows == ()


cells = st.sets(st.integers(0, 19))


@given(first=cells, second=cells, third=cells, edges=st.lists(st.integers(0, 20), max_size=4))
def test_every_answered_cell_is_served_once_by_the_last_tier_that_missed_it(
    first: set[int], second: set[int], third: set[int], edges: list[int]
) -> None:
    """Against a naive oracle, cell by cell. What is missing later was missing before."""
    after_backfill, at_last = first & second, first & second & third
    bounds = [0, *sorted(edges), 20]
    answers = [Answer(start, end, f"source {number}") for number, (start, end) in enumerate(pairwise(bounds))]
    turns = (Turn(Tier.BACKFILL, of(first)), Turn(Tier.LIVE, of(after_backfill)))
    rows = served(answers, SPAN, of(at_last), turns=turns, answered_by=Tier.STORAGE)
    for cell in range(20):
        found = [(row.tier, row.source) for row in rows if row.cells.contains(Span(cell, cell + 1))]
        if cell in at_last:
            assert found == []
            continue
        tier = Tier.STORAGE
        if cell in first:
            tier = Tier.LIVE if cell in after_backfill else Tier.BACKFILL
        source = next(answer.source for answer in answers if answer.start <= cell < answer.end)
        assert found == [(tier, source)]
    assert all(row.cells for row in rows)
