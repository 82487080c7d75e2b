"""A write makes anew the chunks that it touches, and no others."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qmtl.runtime.io.sql.chunks import Chunk
from qmtl.runtime.io.sql.rewrite_plan import FULL, SMALL, loose, rewrite_plan


def chunk(number: int, first: int, last: int, rows: int = FULL) -> Chunk:
    return Chunk(number, first, last, rows, 1, b"")


@st.composite
def layouts(draw: st.DrawFn) -> list[Chunk]:
    edges = sorted(draw(st.sets(st.integers(0, 200), max_size=24)))
    pairs = list(zip(edges[::2], edges[1::2], strict=False))
    return [
        chunk(i, first, last, draw(st.sampled_from([1, SMALL - 1, SMALL, FULL])))
        for i, (first, last) in enumerate(pairs)
    ]


@given(layouts(), st.sets(st.integers(-10, 210), min_size=1))
def test_every_row_has_its_window_and_windows_are_disjoint(chunks: list[Chunk], stamps: set[int]) -> None:
    ts = np.array(sorted(stamps), np.int64)
    made = rewrite_plan(chunks, ts)
    assert all(sum(w.low <= t <= w.high for w in made) == 1 for t in stamps)
    for one, next_one in itertools.pairwise(made):
        assert one.high < next_one.low
    for window in made:
        for known in chunks:
            inside = window.low <= known.first_ts and known.last_ts <= window.high
            outside = known.last_ts < window.low or window.high < known.first_ts
            assert inside or outside
            assert inside == (known in window.chunks)


@given(layouts(), st.sets(st.integers(-10, 210), min_size=1))
def test_a_full_chunk_without_a_row_is_left_alone(chunks: list[Chunk], stamps: set[int]) -> None:
    taken = {
        known.id
        for window in rewrite_plan(chunks, np.array(sorted(stamps), np.int64))
        for known in window.chunks
    }
    for known in chunks:
        touched = any(known.first_ts <= t <= known.last_ts for t in stamps)
        if touched:
            assert known.id in taken
        elif known.rows >= SMALL:
            assert known.id not in taken


def test_small_neighbours_wait_until_they_fill_a_chunk() -> None:
    small = [chunk(i, 100 * i, 100 * i + 99, 1_000) for i in range(8)]
    page = np.arange(800, 800 + 100)
    (alone,) = rewrite_plan(small[:5], np.arange(500, 600))
    assert alone.chunks == ()
    (together,) = rewrite_plan(small, np.arange(800, 800 + 1_000))
    assert together.chunks == tuple(small)
    assert (together.low, together.high) == (0, 1_799)
    assert rewrite_plan(small[:7], page)[0].chunks == ()


def test_only_small_chunks_beside_small_ones_are_loose() -> None:
    rows = [FULL, 5, FULL, 5, 5, FULL, SMALL, 5]
    chunks = [chunk(i, 10 * i, 10 * i + 9, count) for i, count in enumerate(rows)]
    assert loose(chunks).tolist() == [30, 40]
    assert loose([]).tolist() == []
