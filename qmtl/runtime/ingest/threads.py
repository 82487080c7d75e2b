"""Threads for what blocks: a few for the store, and one per call of a vendor, so that neither starves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

from qmtl.runtime.io.store.waiting import waiting

Args = TypeVarTuple("Args")
T = TypeVar("T")

# Commits and reads that one loop asks for; the store serialises its writers itself.
_STORE_THREADS = 4

_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, StoreThreads] = WeakKeyDictionary()


def submitted(function: Callable[[*Args], T], *args: *Args) -> asyncio.Future[T]:
    """Begin `function(*args)`, blocking work of the store, in a thread that does nothing else."""
    loop = asyncio.get_running_loop()
    threads = _of_loops.get(loop)
    if threads is None:
        threads = _of_loops[loop] = StoreThreads()
    return loop.run_in_executor(threads, function, *args)


async def in_thread(function: Callable[[*Args], T], *args: *Args) -> T:
    """The result of `function(*args)`, blocking work of the store, run in the threads of `submitted`.

    What it reads ends with the wait: where this is cancelled, nobody wants it any more.
    """
    with waiting() as wait:
        try:
            return await submitted(copy_context().run, function, *args)
        except asyncio.CancelledError:
            wait.give_up()
            raise


async def in_own_thread(function: Callable[..., T], /, *args: Any, **options: Any) -> T:
    """As `in_thread`, in a thread of the loop's own executor."""
    with waiting() as wait:
        try:
            return await asyncio.to_thread(function, *args, **options)
        except asyncio.CancelledError:
            wait.give_up()
            raise


def end_threads(loop: asyncio.AbstractEventLoop) -> None:
    """Wait until the work that a loop asked of the store has ended. Blocks."""
    threads = _of_loops.pop(loop, None)
    if threads is not None:
        threads.shutdown()


class StoreThreads(Executor):
    """A few threads, all there from the beginning, that take work until `shutdown`.

    Those of `ThreadPoolExecutor` take none once the program begins to end, which is before its exit hooks:
    what came for a provider that nobody closed could not be stored any more. Nor could a thread be started
    then. As daemons they do not keep the program from reaching its exit hooks, which close the provider.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._live, name=f"qmtl-store_{number}", daemon=True)
            for number in range(_STORE_THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[..., T], /, *args: Any, **options: Any) -> Future[T]:
        future: Future[T] = Future()
        self._work.put(lambda: _settle(future, lambda: function(*args, **options)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads once they have done what was handed over before; blocks until then."""
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()

    def _live(self) -> None:
        while (work := self._work.get()) is not None:
            work()


class VendorThreads(ThreadPoolExecutor):
    """A loop's default executor: each call has a thread of its own, which nobody waits for at the end.

    Vendors may block in `asyncio.to_thread` for ever. In a pool the fifth of them would stop all the others,
    and closing the loop or ending the program would wait for them.
    """

    def submit(self, function: Callable[..., T], /, *args: Any, **options: Any) -> Future[T]:
        future: Future[T] = Future()

        def work() -> None:
            _settle(future, lambda: function(*args, **options))

        threading.Thread(target=work, name="qmtl-vendor", daemon=True).start()
        return future


def _settle(future: Future[T], work: Callable[[], T]) -> None:
    """Do the work of a future that nobody has cancelled yet."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as cause:  # noqa: BLE001 - the waiter of the future gets it
        future.set_exception(_raisable(cause))
    else:
        future.set_result(result)


def _raisable(cause: BaseException) -> BaseException:
    """A StopIteration cannot be raised where somebody awaits, who would then wait for ever."""
    if not isinstance(cause, StopIteration):
        return cause
    error = RuntimeError("a thread raised StopIteration")
    error.__cause__ = cause
    return error
