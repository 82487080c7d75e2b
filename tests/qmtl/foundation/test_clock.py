"""The machine's own time, and a loop that keeps it."""

from __future__ import annotations

import time

from qmtl.foundation.clock import Clock, SystemClock


def test_wall_time_is_in_nanoseconds_of_utc() -> None:
    clock: Clock = SystemClock()
    before = time.time_ns()
    now = clock.now()
    assert before <= now <= time.time_ns()


def test_monotonic_time_is_in_seconds_and_never_goes_back() -> None:
    clock = SystemClock()
    before = time.perf_counter()
    readings = [clock.monotonic() for _ in range(100)]
    assert readings == sorted(readings)
    assert before <= readings[0] <= readings[-1] <= time.perf_counter()


def test_each_loop_is_new_and_runs() -> None:
    clock = SystemClock()
    one, two = clock.new_event_loop(), clock.new_event_loop()

    async def answer() -> int:
        return 3

    try:
        assert one is not two
        assert one.run_until_complete(answer()) == 3
    finally:
        one.close()
        two.close()
