"""The only place that asks the time, and a loop that keeps it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio


class Clock(Protocol):
    """What code that needs the time is handed."""

    def now(self) -> int:
        """Wall time in int nanoseconds UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""
        ...

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """A loop whose timers follow this clock."""
        ...


class SystemClock:
    """The machine's own time."""

    now = staticmethod(time.time_ns)
    monotonic = staticmethod(time.perf_counter)

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        import asyncio  # what only asks for the time need not wait for it

        return asyncio.new_event_loop()
