"""Which commit a time names, against a walk over all commits."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.times import DAY, EARLIEST
from qmtl.runtime.io.store.point_in_time import following, last_at, refuse_out_of_reach
from qmtl.runtime.io.store.values import Point

SERIES = SeriesId.parse("ohlcv:test:A/B:1m")


@given(st.lists(st.integers(1, 5), max_size=12), st.integers(1, 7), st.integers(-2, 70))
def test_the_newest_commit_at_a_time(steps: list[int], first: int, as_of: int) -> None:
    times = dict(enumerate(itertools.accumulate(steps), start=first))
    expected = Point(0, 0)
    for tx, time in times.items():
        if time <= as_of:
            expected = Point(tx, time)
    assert last_at(first, first + len(steps) - 1, as_of, times.__getitem__) == expected


@given(st.lists(st.integers(0, 100), max_size=20))
def test_commit_times_only_go_up_whatever_the_clock_does(clock: list[int]) -> None:
    newest = Point(0, 0)
    for now in clock:
        after = following(newest, now)
        assert after.tx == newest.tx + 1
        assert after.as_of > newest.as_of
        assert after.as_of >= now
        newest = after


def test_a_clock_that_moves_is_followed_exactly() -> None:
    assert following(Point(3, 100), 250) == Point(4, 250)
    assert following(Point(3, 100), 100) == Point(4, 101)
    assert following(Point(3, 100), 40) == Point(4, 101)


@pytest.mark.parametrize(("as_of", "now", "newest"), [(5, 5, 0), (5, 0, 5), (0, 0, 0)])
def test_a_time_up_to_now_or_to_the_newest_commit_can_be_asked_for(as_of: int, now: int, newest: int) -> None:
    refuse_out_of_reach(as_of, now=now, newest=Point(1, newest))


def test_a_time_beyond_both_is_refused_with_both_times() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        refuse_out_of_reach(3 * DAY, now=DAY, newest=Point(1, 2 * DAY), series=SERIES)
    error = refused.value
    assert error.what == "as_of 1970-01-04 lies in the future"
    assert error.series == SERIES.text
    assert "it is 1970-01-02 now" in (error.why or "")
    with pytest.raises(InvalidRequestError):
        refuse_out_of_reach(2 * DAY + 1, now=DAY, newest=Point(1, 2 * DAY))


@pytest.mark.parametrize("as_of", [-1, -DAY, EARLIEST])
def test_a_time_before_1970_is_refused_with_what_to_give(as_of: int) -> None:
    with pytest.raises(InvalidRequestError, match=r"no commit lies before 1970") as refused:
        refuse_out_of_reach(as_of, now=3 * DAY, newest=Point(1, 2 * DAY), series=SERIES)
    assert refused.value.series == SERIES.text
    assert "give a time of `commits(...)`, such as 1970-01-03" in (refused.value.next_step or "")


@pytest.mark.parametrize("as_of", [-(10**30), 10**30, 1e18, True, "then", None])
def test_what_is_no_time_is_refused(as_of: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"is outside 1677-09-22|is not a time"):
        refuse_out_of_reach(as_of, now=DAY, newest=Point(0, 0))
