"""Shards lie on a fixed grid, so that requests which overlap claim the same ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import EARLIEST, LATEST, MINUTE
from qmtl.runtime.coordination.shards import shard_numbers, shard_span, shards_coverage
from qmtl.runtime.io.store.fencing import SHARD_STEPS

WIDTH = SHARD_STEPS * MINUTE


def test_shards_of_overlapping_requests_are_the_same() -> None:
    early = Coverage.of(Span(WIDTH - MINUTE, WIDTH + MINUTE))
    late = Coverage.of(Span(WIDTH, 3 * WIDTH))
    assert shard_numbers(early, WIDTH) == [0, 1]
    assert shard_numbers(late, WIDTH) == [1, 2]
    assert shard_numbers(EMPTY, WIDTH) == []
    assert shards_coverage([0, 1], WIDTH) == Coverage.of(Span(0, 2 * WIDTH))
    assert shard_span(-1, WIDTH) == Span(-WIDTH, 0)


spans = st.tuples(st.integers(-50, 50), st.integers(1, 30)).map(lambda at: Span(at[0], at[0] + at[1]))


@given(st.lists(spans, max_size=6), st.integers(1, 9))
def test_shard_numbers_against_a_walk_over_the_instants(parts: list[Span], width: int) -> None:
    cells = Coverage(parts)
    assert shard_numbers(cells, width) == sorted({t // width for a, b in cells for t in range(a, b)})
    assert shards_coverage(shard_numbers(cells, width), width) & cells == cells


def test_the_first_and_the_last_shard_are_cut_to_what_int64_can_hold() -> None:
    first, last = EARLIEST // WIDTH, (LATEST - 1) // WIDTH
    assert shards_coverage([first], WIDTH).hull == Span(EARLIEST, (first + 1) * WIDTH)
    assert shards_coverage([last], WIDTH).hull == Span(last * WIDTH, LATEST)
