"""Virtual time: timers fire in order at their own time, threads are really waited for, and nobody sleeps."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from qmtl.foundation.times import DAY, SECOND, to_ns
from qmtl.runtime.testing.clock import FakeClock

T = TypeVar("T")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(autouse=True)
def _fast() -> Iterator[None]:
    """Every test here lives through hours; none may take more than a moment."""
    began = time.perf_counter()
    yield
    assert time.perf_counter() - began < 20


def run(clock: FakeClock, main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
        return runner.run(main)


def test_stands_still_until_it_is_advanced(clock: FakeClock) -> None:
    assert (clock.now(), clock.monotonic()) == (to_ns("2024-01-01"), 0.0)
    clock.advance(1.5)
    assert (clock.now(), clock.monotonic()) == (to_ns("2024-01-01") + 1_500_000_000, 1.5)
    assert repr(clock) == "FakeClock(2024-01-01T00:00:01.5Z)"


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_cannot_go_back(clock: FakeClock, seconds: float) -> None:
    with pytest.raises(ValueError, match="cannot advance"):
        clock.advance(seconds)
    assert clock.monotonic() == 0.0


def test_a_sleep_takes_exactly_its_time(clock: FakeClock) -> None:
    run(clock, asyncio.sleep(3600))
    assert clock.now() == to_ns("2024-01-01T01:00:00Z")


def test_many_days_of_small_sleeps_do_not_drift_or_hang(clock: FakeClock) -> None:
    async def main() -> None:
        await asyncio.sleep(40 * 365 * 86_400)  # floats are coarser than nanoseconds there
        for _ in range(2_000):
            await asyncio.sleep(0.001)

    run(clock, main())
    assert clock.now() - to_ns("2024-01-01") - 40 * 365 * DAY == pytest.approx(2 * SECOND, rel=1e-3)


def test_a_timer_that_is_due_exactly_now_runs_even_after_years(clock: FakeClock) -> None:
    async def main() -> None:
        clock.advance(40 * 365 * 86_400)
        nap = asyncio.create_task(asyncio.sleep(0.5))
        await asyncio.sleep(0)
        clock.advance(0.5)
        await nap

    run(clock, main())
    assert clock.monotonic() == 40 * 365 * 86_400 + 0.5


def test_timers_fire_in_their_order_at_their_time(clock: FakeClock) -> None:
    seen: list[tuple[str, float]] = []

    async def after(name: str, delay: float) -> None:
        await asyncio.sleep(delay)
        seen.append((name, clock.monotonic()))

    async def main() -> None:
        await asyncio.gather(after("c", 30), after("a", 0.25), after("b", 2), after("b too", 2))

    run(clock, main())
    assert seen == [("a", 0.25), ("b", 2.0), ("b too", 2.0), ("c", 30.0)]


def test_timeout_and_wait_for_need_no_change(clock: FakeClock) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.sleep(60)
        assert clock.monotonic() == 2.0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), timeout=5)
        assert clock.monotonic() == 7.0
        assert await asyncio.wait_for(asyncio.sleep(1, "in time"), timeout=5) == "in time"
        assert clock.monotonic() == 8.0

    run(clock, main())


def test_ready_work_goes_before_time(clock: FakeClock) -> None:
    async def main() -> None:
        sleeper = asyncio.create_task(asyncio.sleep(1))
        for _ in range(1_000):
            await asyncio.sleep(0)
        assert clock.monotonic() == 0.0
        await sleeper

    run(clock, main())


def test_advancing_by_hand_makes_timers_due(clock: FakeClock) -> None:
    async def main() -> None:
        late = asyncio.create_task(asyncio.wait_for(asyncio.sleep(20), timeout=2))
        await asyncio.sleep(0)
        clock.advance(10)
        with pytest.raises(TimeoutError):
            await late
        assert clock.monotonic() == 10.0

    run(clock, main())


def test_the_clock_does_not_jump_while_a_thread_works(clock: FakeClock) -> None:
    """A minute's timer would fire at once if the loop did not wait for the job."""
    began, leave = threading.Event(), threading.Event()

    def work() -> float:
        began.set()
        assert leave.wait(60)
        return clock.monotonic()

    def release() -> None:
        assert began.wait(60)
        leave.set()

    async def main() -> None:
        helper = threading.Thread(target=release)
        helper.start()
        async with asyncio.timeout(60):
            assert await asyncio.to_thread(work) == 0.0
        helper.join()
        assert clock.monotonic() == 0.0

    run(clock, main())


def test_a_job_that_takes_virtual_time_runs_into_a_timeout(clock: FakeClock) -> None:
    for _ in range(200):  # the order of job's end and timer must not depend on luck
        began = clock.monotonic()

        async def main() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await asyncio.to_thread(clock.advance, 2.0)

        run(clock, main())
        assert clock.monotonic() == began + 2.0


def test_a_timeout_fires_while_the_job_is_still_at_work(clock: FakeClock) -> None:
    leave = threading.Event()

    def work() -> None:
        clock.advance(2.0)
        assert leave.wait(60)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.to_thread(work)
        # The job was given up, so the clock may jump again although its thread still runs.
        await asyncio.sleep(100)
        assert clock.monotonic() == 102.0
        leave.set()

    run(clock, main())


def test_jobs_in_time_beat_their_timeout(clock: FakeClock) -> None:
    async def main() -> None:
        async with asyncio.timeout(3):
            await asyncio.gather(*(asyncio.to_thread(clock.advance, 0.125) for _ in range(8)))
        assert clock.monotonic() == 1.0

    run(clock, main())


def test_a_failing_job_does_not_hold_the_clock(clock: FakeClock) -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await asyncio.get_running_loop().run_in_executor(None, lambda: 1 // 0)
        await asyncio.sleep(5)

    run(clock, main())
    assert clock.monotonic() == 5.0


def test_a_loop_in_the_background_is_fed_from_outside(clock: FakeClock) -> None:
    loop = clock.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        for hour in range(1, 51):
            slept = asyncio.run_coroutine_threadsafe(asyncio.sleep(3600, hour), loop)
            assert slept.result(60) == hour
            assert clock.monotonic() == hour * 3600.0
        called = threading.Event()
        loop.call_soon_threadsafe(called.set)
        assert called.wait(60)
        assert clock.monotonic() == 50 * 3600.0, "time passed although there was no timer"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


def test_another_thread_may_let_time_pass(clock: FakeClock) -> None:
    """The background loop waits for a job; the main thread's `advance` makes its timer due."""
    loop = clock.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    began, leave = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        assert leave.wait(60)

    async def main() -> str:
        try:
            async with asyncio.timeout(5):
                await asyncio.to_thread(work)
        except TimeoutError:
            return "timed out"
        return "done"

    try:
        outcome = asyncio.run_coroutine_threadsafe(main(), loop)
        assert began.wait(60)
        clock.advance(4.9)
        assert not outcome.done()
        clock.advance(0.2)
        assert outcome.result(60) == "timed out"
    finally:
        leave.set()
        asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


def test_two_loops_share_one_clock(clock: FakeClock) -> None:
    """One loop waits in a thread for a coroutine of the other, as a synchronous face does."""
    other = clock.new_event_loop()
    thread = threading.Thread(target=other.run_forever)
    thread.start()

    def fetch() -> str:
        return asyncio.run_coroutine_threadsafe(asyncio.sleep(7, "fetched"), other).result(60)

    async def main() -> None:
        async with asyncio.timeout(8):
            assert await asyncio.to_thread(fetch) == "fetched"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(6):
                await asyncio.to_thread(fetch)

    try:
        run(clock, main())
        assert clock.monotonic() >= 13.0
    finally:
        other.call_soon_threadsafe(other.stop)
        thread.join(60)
        other.close()


def test_what_a_socket_brings_goes_before_time(clock: FakeClock) -> None:
    ours, theirs = socket.socketpair()

    async def main() -> None:
        reader, writer = await asyncio.open_connection(sock=ours)
        theirs.sendall(b"hello\n")
        async with asyncio.timeout(60):
            assert await reader.readline() == b"hello\n"
        assert clock.monotonic() == 0.0
        writer.close()
        await writer.wait_closed()

    with theirs:
        run(clock, main())


def test_closed_loops_are_left_alone(clock: FakeClock) -> None:
    clock.new_event_loop().close()
    never_run = clock.new_event_loop()
    clock.advance(1)
    never_run.run_until_complete(asyncio.sleep(1))
    never_run.close()
    assert clock.monotonic() == 2.0
