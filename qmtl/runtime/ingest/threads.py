"""Threads for what blocks: a few for the store, and one per call of a vendor, so that neither starves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

Args = TypeVarTuple("Args")
T = TypeVar("T")

# Commits and reads that one loop asks for; the store serialises its writers itself.
_STORE_THREADS = 4

_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, ThreadPoolExecutor] = WeakKeyDictionary()


def submitted(function: Callable[[*Args], T], *args: *Args) -> asyncio.Future[T]:
    """Begin `function(*args)`, blocking work of the store, in a thread that does nothing else."""
    loop = asyncio.get_running_loop()
    threads = _of_loops.get(loop)
    if threads is None:
        threads = _of_loops[loop] = ThreadPoolExecutor(_STORE_THREADS, thread_name_prefix="qmtl-store")
    return loop.run_in_executor(threads, function, *args)


async def in_thread(function: Callable[[*Args], T], *args: *Args) -> T:
    """The result of `function(*args)`, blocking work of the store, run in the threads of `submitted`."""
    return await submitted(function, *args)


def end_threads(loop: asyncio.AbstractEventLoop) -> None:
    """Wait until the work that a loop asked of the store has ended. Blocks."""
    threads = _of_loops.pop(loop, None)
    if threads is not None:
        threads.shutdown()


class VendorThreads(ThreadPoolExecutor):
    """A loop's default executor: each call has a thread of its own, which nobody waits for at the end.

    Vendors may block in `asyncio.to_thread` for ever. In a pool the fifth of them would stop all the others,
    and closing the loop or ending the program would wait for them.
    """

    def submit(self, function: Callable[..., T], /, *args: Any, **options: Any) -> Future[T]:
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function(*args, **options)
            except BaseException as cause:  # noqa: BLE001 - the waiter of the future gets it
                future.set_exception(_raisable(cause))
            else:
                future.set_result(result)

        threading.Thread(target=work, name="qmtl-vendor", daemon=True).start()
        return future


def _raisable(cause: BaseException) -> BaseException:
    """A StopIteration cannot be raised where somebody awaits, who would then wait for ever."""
    if not isinstance(cause, StopIteration):
        return cause
    error = RuntimeError("a thread raised StopIteration")
    error.__cause__ = cause
    return error
