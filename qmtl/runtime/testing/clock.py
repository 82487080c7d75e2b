"""Time that passes only when nothing else can happen, so that tests wait for hours in microseconds."""

from __future__ import annotations

import asyncio
import math
import selectors
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, TypeVarTuple

from qmtl.foundation.times import SECOND, iso, to_ns

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class FakeClock:
    """A `Clock` that stands still until it is advanced, by hand or by an idle loop of its own.

    `start` is what `now()` says first: whatever `fetch` takes as a time. `monotonic()` begins at zero.
    Every method may be called from any thread.

    A loop of `new_event_loop()` keeps virtual time: when it has nothing to run and no executor job of its
    own is outstanding, the clock jumps to its next timer. `asyncio.sleep`, `timeout` and `wait_for` need no
    change. While an executor job runs, the loop really waits; such a job says how long it takes by calling
    `advance`. An answer that comes over a socket takes no virtual time, and timers do not wait for it: give
    code that talks to a real server the `SystemClock`.
    """

    def __init__(self, start: Any = "2024-01-01T00:00:00Z") -> None:
        self._start = to_ns(start, name="start")
        self._elapsed = 0  # nanoseconds
        self._lock = threading.Lock()
        self._loops: weakref.WeakSet[_VirtualLoop] = weakref.WeakSet()

    def now(self) -> int:
        """Wall time in int nanoseconds UTC."""
        return self._start + self._elapsed

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return self._elapsed / SECOND

    def advance(self, seconds: float) -> None:
        """Let time pass: timers that become due run as soon as their loops can. ValueError if negative."""
        if not 0 <= seconds < math.inf:
            raise ValueError(f"time cannot advance by {seconds} seconds")
        with self._lock:
            self._elapsed += round(seconds * SECOND)
        self._wake_loops()

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """A new loop in virtual time; may run in any thread."""
        loop = _VirtualLoop(self)
        with self._lock:
            self._loops.add(loop)
        return loop

    def _advance_to(self, moment: float) -> None:
        """Let time pass until `monotonic()` is at least `moment`; it may have passed already."""
        with self._lock:
            elapsed = max(self._elapsed, math.ceil(moment * SECOND))
            while elapsed / SECOND < moment:  # a float of many seconds is coarser than a nanosecond
                elapsed += 1
            self._elapsed = elapsed
        self._wake_loops()

    def _wake_loops(self) -> None:
        with self._lock:
            loops = list(self._loops)
        for loop in loops:
            loop.wake()

    def __repr__(self) -> str:
        return f"FakeClock({iso(self.now())})"


class _VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is a `FakeClock`'s."""

    def __init__(self, clock: FakeClock) -> None:
        self._fake_clock = clock
        self._last_read = 0.0
        self._jobs: set[object] = set()
        selector = _JumpingSelector()
        selector.idle_until = self._idle_until
        super().__init__(selector)
        # asyncio runs a timer only when time() + resolution passes it. With its own nanosecond that sum is
        # lost in the float after half a year, and a timer that is due exactly now would never run.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        self._last_read = self._fake_clock.monotonic()
        return self._last_read

    def _idle_until(self, timeout: float) -> bool:
        """Jump to the timer that is due in `timeout` seconds, unless a thread is at work; whether it did."""
        if self._jobs:
            return False
        # The loop computed the timeout from the last time it read; others may have moved the clock since.
        self._fake_clock._advance_to(self._last_read + timeout)
        return True

    def wake(self) -> None:
        """Leave a real wait, because timers may be due. From any thread."""
        if self.is_running():  # else it looks by itself when it begins to run
            with suppress(RuntimeError):  # closed since: it has no timers any more
                self.call_soon_threadsafe(_nothing)

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        # A job counts until the loop has its result, or it is cancelled.
        job = super().run_in_executor(executor, func, *args)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        return job

    async def shutdown_default_executor(self, *timeout: Any) -> None:
        # Threads are joined in real time; since Python 3.12 a timer stands beside it.
        joining = object()
        self._jobs.add(joining)
        try:
            await super().shutdown_default_executor(*timeout)
        finally:
            self._jobs.discard(joining)


class _JumpingSelector(selectors.DefaultSelector):
    """Looks for what has really happened, and lets virtual time pass only if nothing has."""

    idle_until: Callable[[float], bool]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        events = super().select(0)
        if events or timeout <= 0 or self.idle_until(timeout):
            return events
        return super().select(None)


def _nothing() -> None: ...
