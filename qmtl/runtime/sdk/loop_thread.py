"""One event loop in a thread of its own: where a provider talks to vendors and feeds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import InvalidRequestError

T = TypeVar("T")


# polars handles SIGINT in a way that restarts system calls: a wait without an end would never notice Ctrl-C.
_INTERRUPTIBLE_S = 0.1


def result_of(future: Future[T]) -> T:
    """The result, once it is there; an interrupt cancels the work before it goes on."""
    try:
        while not wait([future], timeout=_INTERRUPTIBLE_S).done:
            pass
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _closed() -> InvalidRequestError:
    return InvalidRequestError("the provider is closed", next_step="make a new SeamlessDataProvider")


class LoopThread:
    """Starts with the first work. Both faces of a provider use it, so that vendors see one loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._closed = False
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run `work` on the loop. Raises `InvalidRequestError` once the loop is closed."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._start())
        except BaseException:
            work.close()
            raise

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Block until `work` is done. Raises `InvalidRequestError` if the loop is closed meanwhile."""
        if threading.current_thread() is self._thread:
            work.close()
            raise InvalidRequestError(
                "a vendor, a feed or a callback cannot block on its own provider",
                why="it runs on the thread that would have to do the work",
                next_step="use await fetch_async(...) there, or another provider",
            )
        try:
            return result_of(self.submit(work))
        except CancelledError:
            if self._closed:
                raise _closed() from None
            raise

    async def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """`run` for asyncio, from any loop."""
        try:
            return await asyncio.wrap_future(self.submit(work))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and not (task is not None and task.cancelling()):
                raise _closed() from None
            raise

    def _start(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise _closed()
            if self._loop is None:
                loop = self._clock.new_event_loop()
                # Store commits and reads that the loop asks for; the store serialises its writers itself.
                loop.set_default_executor(ThreadPoolExecutor(4, thread_name_prefix="qmtl-store"))
                self._thread = threading.Thread(target=loop.run_forever, name="qmtl-loop", daemon=True)
                self._thread.start()
                self._loop = loop
            return self._loop

    def close(self) -> None:
        """Cancel what still runs, let it end, and stop the thread. Nothing can be submitted afterwards."""
        with self._lock:
            self._closed = True
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def _cancel_all() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    if rest:
        await asyncio.wait(rest, timeout=1.0)
