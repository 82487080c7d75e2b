"""Stored bars as a live feed: each comes when a clock says that it has closed, at any speed."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import AsyncIterator
from typing import Any

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, LATEST, SECOND, to_ns
from qmtl.runtime.io.store.contract import BarReader
from qmtl.runtime.io.vendors.base import Update


class ReplayClock:
    """A clock that begins at `start` (anything that `to_ns` reads) and goes `speed` times as fast.

    It says `start` when it is first asked for the time: a run that takes a while to begin, as one in a
    process of its own does, has missed no bar by then.

    All who use it wait that much shorter: a lag of 30 s is half a second at a speed of 60. Raises
    `InvalidRequestError` for a speed that is no positive number.
    """

    def __init__(self, start: Any, speed: float = 1.0) -> None:
        given: object = speed
        if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= _FASTEST:
            raise InvalidRequestError(
                f"speed={speed!r} cannot be used", next_step=f"give a number above 0, and up to {_FASTEST:,}"
            )
        self.speed = float(speed)
        self._start, self._began = to_ns(start, name="start"), time.perf_counter()

    def now(self) -> int:
        """Wall time in int nanoseconds UTC."""
        passed = self.monotonic()
        began: float = vars(self).setdefault("_asked", passed)  # one step, whichever thread is first
        return self._start + round((passed - began) * SECOND)

    def monotonic(self) -> float:
        """Seconds since this clock was made, as it counts them."""
        return (time.perf_counter() - self._began) * self.speed

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """A loop whose timers are due when this clock says so."""
        return _Loop(self)


# A year in half a minute.
_FASTEST = 1_000_000


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: ReplayClock) -> None:
        self._replay_clock = clock
        super().__init__(_Selector(clock.speed))
        # A timer is due within a microsecond of the machine.
        self._clock_resolution = 1e-6 * clock.speed

    def time(self) -> float:
        return self._replay_clock.monotonic()


class _Selector(selectors.DefaultSelector):
    """Waits so much shorter."""

    def __init__(self, speed: float) -> None:
        super().__init__()
        self._speed = speed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(None if timeout is None else timeout / self._speed)


class ReplayFeed:
    """A live feed that brings the bars of a store, each once it has closed by `clock`.

    store: any but the one that the run itself writes. It is read a day at a time, as it is then. A series
    ends with its last stored bar.
    """

    def __init__(self, store: BarReader, clock: Clock) -> None:
        self._store, self._clock = store, clock

    async def bars(self, series: SeriesId) -> AsyncIterator[Update]:
        """The bars that close from the moment of the call on."""
        step = series.timeframe.step
        first = self._clock.now() - step + 1  # the first bar that has not closed yet opens then, or later
        last = await asyncio.to_thread(self._last, series)
        while first <= last:
            span = Span(first, first + max(DAY, step))
            rows = (await asyncio.to_thread(self._store.read, series, span)).frame
            for row, ts in enumerate(stamps(rows).tolist()):
                await asyncio.sleep(max(0.0, (ts + step - self._clock.now()) / SECOND))
                yield Update(rows.slice(row, 1), True)
            first = span.end

    def _last(self, series: SeriesId) -> int:
        found = stamps(self._store.read(series, Span(LATEST, LATEST), context=1).rows)
        return int(found[-1]) if len(found) else 0
