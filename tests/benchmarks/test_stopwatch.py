"""Contestants take turns, and those that take their time themselves are believed."""

from __future__ import annotations

from benchmarks.stopwatch import OwnTime, calls_of, take_turns


def test_each_contestant_is_called_as_often_as_said_and_its_own_time_counts() -> None:
    called: dict[str, list[int]] = {"own": [], "timed": []}

    def own(number: int) -> OwnTime:
        called["own"].append(number)
        return OwnTime(1_000.0 + number)

    times = take_turns(6, {"own": own, "timed": called["timed"].append})
    assert called["own"] == called["timed"] == list(range(calls_of(6)))
    # The first round of each of three blocks is not counted.
    assert times["own"].seconds == (1_001.0, 1_002.0, 1_004.0, 1_005.0, 1_007.0, 1_008.0)
    assert all(0 <= seconds < 100 for seconds in times["timed"].seconds)
