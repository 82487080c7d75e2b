"""How long a series is left alone, and what is remembered of many."""

from __future__ import annotations

from qmtl.runtime.coordination.series_rests import LONGEST_S, MANY, MOST, SeriesRests


def test_a_series_rests_longer_each_time_and_no_other_with_it() -> None:
    rests, now, ends = SeriesRests(), 100.0, []
    for _ in range(9):
        rests.failed("a", now=now)
        until = now
        while rests.at(until) == ["a"]:
            until += 0.5
        ends.append(until - now)
        now = until
    assert ends == [1, 2, 4, 8, 16, 32, 60, 60, LONGEST_S]
    rests.failed("b", now=now)
    assert rests.at(now) == ["b"]


def test_what_was_done_begins_anew() -> None:
    rests = SeriesRests()
    for _ in range(5):
        rests.failed("a", now=0.0)
    rests.done("a")
    rests.done("never heard of")
    assert rests.at(0.0) == []
    rests.failed("a", now=0.0)
    assert (rests.at(0.9), rests.at(1.0)) == (["a"], [])


def test_of_too_many_those_that_rest_longest_are_remembered() -> None:
    rests = SeriesRests()
    for number in range(MOST + 5):
        rests.failed(f"s{number:04}", now=float(number) / 10_000)
    assert rests.at(0.0) == [f"s{number:04}" for number in range(5, MOST + 5)]


def test_failures_without_end_are_no_number_that_is_too_large() -> None:
    rests = SeriesRests()
    for _ in range(3_000):
        rests.failed("a", now=0.0)
    assert rests.at(59.9) == ["a"]


def test_nothing_is_taken_where_many_series_fail_and_none_succeeds() -> None:
    rests, pauses = SeriesRests(), []
    for number in range(MANY + 8):
        rests.failed(f"s{number}", now=100.0)
        rests.failed(f"s{number}", now=100.0)  # the same once more says nothing new
        pauses.append(rests.pause_s(100.0))
    assert pauses == [0] * MANY + [1, 2, 4, 8, 16, 32, 60, LONGEST_S]
    assert (rests.pause_s(130.0), rests.pause_s(170.0)) == (30.0, 0.0)
    rests.done("s0")
    assert rests.pause_s(100.0) == 0.0
