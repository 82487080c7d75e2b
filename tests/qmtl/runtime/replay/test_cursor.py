"""A cursor finds what a search of all times finds, in whatever order it is asked."""

from __future__ import annotations

from bisect import bisect_right

from hypothesis import given
from hypothesis import strategies as st

from qmtl.runtime.replay.cursor import Cursor


class Counted(list[int]):
    """Counts how often a time was looked at."""

    looked = 0

    def __getitem__(self, at: int) -> int:  # type: ignore[override]
        self.looked += 1
        return super().__getitem__(at)


@given(
    times=st.lists(st.integers(0, 200), max_size=40),
    moments=st.lists(st.integers(-5, 210), max_size=20),
    step=st.integers(1, 30),
)
def test_a_cursor_finds_what_a_search_finds(times: list[int], moments: list[int], step: int) -> None:
    times.sort()
    cursor = Cursor(times, step)
    assert [cursor.count(moment) for moment in moments] == [bisect_right(times, one) for one in moments]


def test_on_a_grid_without_holes_it_looks_three_times() -> None:
    times = Counted(range(0, 6_000_000, 60))
    cursor = Cursor(times, 60)
    cursor.count(6_000)
    times.looked = 0
    assert cursor.count(606_030) == 10_101
    assert times.looked <= 4
