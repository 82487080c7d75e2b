"""One event loop in a thread of its own: where a provider talks to vendors and feeds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from qmtl.foundation.clock import Clock

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


class LoopThread:
    """Starts with the first work. Both faces of a provider use it, so that vendors see one loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run `work` on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._start())

    def _start(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = self._clock.new_event_loop()
                # Store commits and reads that the loop asks for; the store serialises its writers itself.
                loop.set_default_executor(ThreadPoolExecutor(4, thread_name_prefix="qmtl-store"))
                self._thread = threading.Thread(target=loop.run_forever, name="qmtl-loop", daemon=True)
                self._thread.start()
                self._loop = loop
            return self._loop

    def close(self) -> None:
        """Cancel what still runs, let it end, and stop the thread."""
        with self._lock:
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
