"""Blocking work of the store has a few threads of its own; each call of a vendor has one."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest

from qmtl.runtime.ingest.threads import VendorThreads, end_threads, in_thread, submitted

# Long enough for any machine; never waited for where the code is right.
PATIENCE = 30.0


def test_work_of_the_store_runs_in_its_own_threads() -> None:
    async def story() -> str:
        try:
            return await in_thread(lambda: threading.current_thread().name)
        finally:
            end_threads(asyncio.get_running_loop())

    assert asyncio.run(story()).startswith("qmtl-store")


def test_arguments_and_errors_go_through() -> None:
    async def story() -> int:
        loop = asyncio.get_running_loop()
        try:
            with pytest.raises(ZeroDivisionError):
                await in_thread(divmod, 1, 0)
            quotient, _ = await in_thread(divmod, 7, 2)
            return quotient
        finally:
            end_threads(loop)

    assert asyncio.run(story()) == 3


def test_work_that_was_begun_ends_before_the_threads_do() -> None:
    done = []

    async def story() -> None:
        begun, go_on = threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            go_on.wait(PATIENCE)
            done.append(True)

        future = submitted(work)
        begun.wait(PATIENCE)
        go_on.set()
        end_threads(asyncio.get_running_loop())
        assert done == [True]
        await future

    asyncio.run(story())


def test_ending_threads_that_were_never_begun_changes_nothing() -> None:
    loop = asyncio.new_event_loop()
    end_threads(loop)
    end_threads(loop)
    loop.close()
    assert loop.is_closed()


def test_more_calls_of_a_vendor_than_any_pool_holds_run_at_once() -> None:
    """All of them meet: in a pool smaller than this the first ones would wait for the last for ever."""
    meeting = threading.Barrier(65)
    threads = VendorThreads()
    futures = [threads.submit(meeting.wait, PATIENCE) for _ in range(64)]
    mine = meeting.wait(PATIENCE)
    assert sorted([mine, *(future.result(PATIENCE) for future in futures)]) == list(range(65))
    threads.shutdown(wait=False)


def test_a_blocked_vendor_holds_up_nobody_at_the_end() -> None:
    """Its thread is a daemon, and `shutdown` does not know of it: the end of a program waits for neither."""
    go_on = threading.Event()
    seen: Future[threading.Thread] = Future()

    def blocked() -> None:
        seen.set_result(threading.current_thread())
        go_on.wait(PATIENCE)

    threads = VendorThreads()
    future = threads.submit(blocked)
    thread = seen.result(PATIENCE)
    threads.shutdown(wait=True)
    assert thread.daemon
    assert not future.done()
    go_on.set()
    future.result(PATIENCE)


def test_an_error_of_any_class_reaches_who_waits() -> None:
    def leave() -> None:
        raise SystemExit(5)

    error = VendorThreads().submit(leave).exception(PATIENCE)
    assert isinstance(error, SystemExit)
    assert error.code == 5


def test_a_stop_iteration_becomes_an_error_that_can_be_awaited() -> None:
    async def story() -> None:
        asyncio.get_running_loop().set_default_executor(VendorThreads())
        empty = iter(())
        with pytest.raises(RuntimeError, match="StopIteration") as failure:
            await asyncio.to_thread(next, empty)
        assert isinstance(failure.value.__cause__, StopIteration)

    asyncio.run(story())
