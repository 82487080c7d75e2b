"""What nobody waits for any more is stopped once, and nothing else ever is."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

from qmtl.runtime.io.store.contract import ReadAbandonedError
from qmtl.runtime.io.store.waiting import Wait, current, waiting, watched


def test_without_a_bound_there_is_no_wait() -> None:
    assert current() is None
    stopped = threading.Event()
    with watched(stopped.set):
        pass
    assert not stopped.is_set()


def test_what_is_watched_stops_when_the_time_is_over() -> None:
    stopped = threading.Event()
    with waiting(0.05) as wait, watched(stopped.set):
        assert stopped.wait(30)
        assert wait.is_over
    assert current() is None


def test_what_is_watched_stops_when_it_is_given_up() -> None:
    stopped = threading.Event()
    with waiting() as wait, watched(stopped.set):
        assert wait.left_s is None
        assert not wait.is_over
        threading.Thread(target=wait.give_up).start()
        assert stopped.wait(30)


def test_a_part_ends_with_the_whole_and_not_the_other_way_round() -> None:
    with waiting() as whole:
        stopped = threading.Event()
        with waiting(1_000) as part, watched(stopped.set):
            whole.give_up()
            assert stopped.wait(30)
            assert part.is_over
    with waiting(1_000) as whole:
        with waiting(0) as part:
            assert part.is_over
            assert not whole.is_over
        with waiting() as part:
            assert part.until == whole.until


def test_what_has_ended_is_not_stopped() -> None:
    calls: list[str] = []
    with waiting(0.02):
        with watched(lambda: calls.append("first")):
            pass
        stopped = threading.Event()
        with watched(stopped.set):
            assert stopped.wait(30)
    assert calls == []


def test_a_shorter_wait_is_noticed_behind_a_longer_one() -> None:
    with waiting(1_000), watched(lambda: None):
        stopped = threading.Event()
        with waiting(0.02), watched(stopped.set):
            assert stopped.wait(30)


def test_nothing_is_begun_once_it_is_over() -> None:
    with waiting(0), pytest.raises(ReadAbandonedError, match="nobody waits"), watched(lambda: None):
        raise AssertionError("it was begun")


def test_many_at_once_each_by_its_own_time() -> None:
    late: list[float] = []

    def one(number: int) -> None:
        seconds = 0.01 * (number % 5 + 1)
        end, stopped = time.monotonic() + seconds, threading.Event()
        with waiting(seconds), watched(stopped.set):
            assert stopped.wait(30)
            late.append(time.monotonic() - end)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(late) == 40
    assert min(late) >= 0


def test_a_forked_child_watches_for_itself() -> None:
    with waiting(0.01), watched(lambda: None):
        pass  # the thread of the parent runs
    pid = os.fork()
    if pid == 0:
        stopped = threading.Event()
        with waiting(0.01), watched(stopped.set):
            os._exit(0 if stopped.wait(30) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize("own", [True, False])
def test_a_thread_hears_that_the_one_who_awaits_it_was_cancelled(own: bool) -> None:
    from qmtl.runtime.ingest.threads import end_threads, in_own_thread, in_thread

    begun, stopped = threading.Event(), threading.Event()
    waits: list[Wait | None] = []

    def work() -> str:
        waits.append(current())
        with watched(stopped.set):
            begun.set()
            assert stopped.wait(30)
        return "late"

    async def cancelled() -> None:
        awaits = in_own_thread if own else in_thread
        assert await awaits(lambda: "done") == "done"
        task = asyncio.create_task(awaits(work))
        while not begun.is_set():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        end_threads(asyncio.get_running_loop())

    asyncio.run(cancelled())
    assert stopped.is_set()
    assert waits[0] is not None
    assert current() is None
