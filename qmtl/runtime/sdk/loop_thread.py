"""One event loop in a thread of its own: where a provider talks to vendors and feeds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future, wait
from typing import TYPE_CHECKING, Any, TypeVar

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.observability.log import backfill_log

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

# Each method imports asyncio itself: a provider makes its loop with the first work, and often there is none.

# polars handles SIGINT in a way that restarts system calls: a wait without an end would never notice Ctrl-C.
_INTERRUPTIBLE_S = 0.1

# How long what was cancelled, and generators that nobody closed, may take to end.
_CANCELLED_WITHIN_S = 1.0

# What a vendor may block for, in real seconds, before its thread is left behind.
CLOSED_WITHIN_S = 10.0


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
        self._ended = False
        self._at_rest = threading.Event()
        self._lock = threading.Lock()
        self._waited_for: set[Future[Any]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def is_started(self) -> bool:
        """Whether there has been work, and the thread still runs."""
        return self._thread is not None

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run `work` on the loop. Raises `InvalidRequestError` once the loop is closed."""
        import asyncio

        try:
            future = asyncio.run_coroutine_threadsafe(work, self._start())
        except BaseException:
            work.close()
            raise
        self._waited_for.add(future)
        future.add_done_callback(self._waited_for.discard)
        return future

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
        import asyncio

        try:
            return await asyncio.wrap_future(self.submit(work))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and not (task is not None and task.cancelling()):
                raise _closed() from None
            raise

    def _start(self) -> asyncio.AbstractEventLoop:
        from qmtl.runtime.ingest.threads import VendorThreads

        with self._lock:
            if self._closed:
                raise _closed()
            if self._loop is None:
                loop = self._clock.new_event_loop()
                loop.set_default_executor(VendorThreads())
                loop.set_task_factory(self._kept)
                self._thread = threading.Thread(
                    target=self._live, args=(loop,), name="qmtl-loop", daemon=True
                )
                self._thread.start()
                self._loop = loop
            return self._loop

    def _kept(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        """A task that is held until it has ended.

        asyncio holds tasks weakly. One that was left behind, and waits for what only itself knows, would be
        collected as garbage: its generators would be closed in the midst of their work.
        """
        import asyncio

        task = asyncio.Task(work, loop=loop, **options)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _live(self, loop: asyncio.AbstractEventLoop) -> None:
        from qmtl.runtime.ingest.threads import end_threads

        while not self._ended:
            try:
                loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                # asyncio has handed it to whoever waits for the task, and ends the loop as well: right for a
                # program's own loop. Here the one who waits decides, and others have work under way.
                continue
        end_threads(loop)
        left = [task for task in self._tasks if not task.done()]
        if not left:
            loop.close()
        self._at_rest.set()
        if left:
            # Closing the loop, or letting go of these tasks, would print what asyncio thinks of them, and
            # their connections as well. So they stand still, in a thread that nobody waits for.
            threading.Event().wait()

    def close_unused(self) -> bool:
        """Close the loop if there has been no work; where there has been, it needs `close`."""
        with self._lock:
            self._closed = self._closed or self._loop is None
            return self._loop is None

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do `last`, cancel what still runs, let it end, and stop the thread.

        Nothing can be submitted afterwards. Raises what `last` raises. Bounded: what ignores its
        cancellation, or still blocks the loop after `CLOSED_WITHIN_S`, is left behind, in a thread that does
        not keep the program from ending.
        """
        import asyncio

        loop = self._start()
        with self._lock:
            self._closed = True
            thread, self._loop, self._thread = self._thread, None, None
        assert thread is not None  # it was started above
        ending = asyncio.run_coroutine_threadsafe(_end(last), loop)
        ending.add_done_callback(lambda _: self._stop(loop))
        if not wait([ending], timeout=CLOSED_WITHIN_S).done:
            backfill_log.warning("backfill.left_behind", thread=thread.name, seconds=CLOSED_WITHIN_S)
            for future in list(self._waited_for):
                future.cancel()
            return
        # What the store was asked to do comes to its end.
        self._at_rest.wait(CLOSED_WITHIN_S)
        ending.result()

    def _stop(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ended = True
        loop.call_soon_threadsafe(loop.stop)  # from either thread: it may be done already


async def _end(last: Callable[[], Coroutine[Any, Any, None]]) -> None:
    import asyncio

    try:
        await last()
    finally:
        await _end_the_rest(asyncio.all_tasks() - {asyncio.current_task()})


async def _end_the_rest(rest: set[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and close the generators that nobody closed; but do not wait for ever."""
    import asyncio

    for task in rest:
        task.cancel()
    if rest:
        _, left = await asyncio.wait(rest, timeout=_CANCELLED_WITHIN_S)
        if left:  # their generators are running, and cannot be closed
            thread = threading.current_thread().name
            backfill_log.warning("backfill.left_behind", thread=thread, seconds=_CANCELLED_WITHIN_S)
            return
    closing = asyncio.ensure_future(asyncio.get_running_loop().shutdown_asyncgens())
    await asyncio.wait({closing}, timeout=_CANCELLED_WITHIN_S)
