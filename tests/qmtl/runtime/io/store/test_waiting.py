"""What nobody waits for any more is stopped once, and nothing else ever is."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from qmtl.runtime.io.store.contract import ReadAbandonedError
from qmtl.runtime.io.store.waiting import Wait, current, waiting, watched


@contextmanager
def soon_over(stop: Callable[[], None], seconds: float = 0.01) -> Iterator[Wait]:
    """What `stop` ends is watched under a wait that ends by itself, though not before there is a watch.

    A busy machine may need longer than `seconds` to come to the watch, which is refused then: the next wait
    is twice as long.
    """
    while True:
        with ExitStack() as stack:
            wait = stack.enter_context(waiting(seconds))
            try:
                stack.enter_context(watched(stop))
            except ReadAbandonedError:
                seconds *= 2
                continue
            yield wait
            return


def test_without_a_bound_there_is_no_wait() -> None:
    assert current() is None
    stopped = threading.Event()
    with watched(stopped.set):
        pass
    assert not stopped.is_set()


def test_what_is_watched_stops_when_the_time_is_over() -> None:
    stopped = threading.Event()
    with soon_over(stopped.set) as wait:
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
    with waiting() as wait:
        with watched(lambda: calls.append("first")):
            pass
        stopped = threading.Event()
        with watched(stopped.set):
            wait.give_up()
            assert stopped.wait(30)
    assert calls == []


def test_a_shorter_wait_is_noticed_behind_a_longer_one() -> None:
    with waiting(1_000), watched(lambda: None):
        stopped = threading.Event()
        with soon_over(stopped.set):
            assert stopped.wait(30)


def test_nothing_is_begun_once_it_is_over() -> None:
    with waiting(0), pytest.raises(ReadAbandonedError, match="nobody waits"), watched(lambda: None):
        raise AssertionError("it was begun")


def test_many_at_once_each_by_its_own_time() -> None:
    late: list[float] = []

    def one(number: int) -> None:
        stopped = threading.Event()
        with soon_over(stopped.set, 0.01 * (number % 5 + 1)) as wait:
            assert stopped.wait(30)
            late.append(time.monotonic() - wait.until)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(late) == 40
    assert min(late) >= 0


def test_a_forked_child_watches_for_itself() -> None:
    with soon_over(lambda: None):
        pass  # the thread of the parent runs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's own word about forks and threads
        pid = os.fork()
    if pid == 0:
        signal.alarm(120)
        code = 1
        try:
            stopped = threading.Event()
            with soon_over(stopped.set):
                code = 0 if stopped.wait(30) else 2
        finally:
            os._exit(code)  # whatever happens: else the child would go on with the other tests
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
