"""Follows the feeds of several series: stores what closes, and waits for single bars.

Feeds are listened to from the moment it is made. What comes is stored from `begin` on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import InvalidRequestError, QmtlError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import LATEST, SECOND
from qmtl.runtime.ingest.tail import Tail
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.sdk.fetch_executor import FetchExecutor
from qmtl.runtime.sdk.loop_thread import LoopThread
from qmtl.runtime.sdk.series_profile import ProfileResolver
from qmtl.runtime.sdk.sources import name_of


class Listening:
    """The feeds of one provider. Its methods are called from a thread that is not its loop.

    since: when it began (int ns UTC): bars that closed before are nobody's to bring.
    lags: seconds for which a bar of each series is waited for; None has no bound.
    """

    def __init__(
        self,
        tails: Mapping[SeriesId, Tail],
        lags: Mapping[SeriesId, float | None],
        *,
        since: int,
        store: Store,
        loop: LoopThread,
        clock: Clock,
    ) -> None:
        self.since = since
        self._tails, self._lags = tails, lags
        self._store, self._loop, self._clock = store, loop, clock
        self._news: dict[SeriesId, asyncio.Event] = {}
        self._answered: dict[SeriesId, Coverage] = dict.fromkeys(tails, EMPTY)
        self._late: dict[SeriesId, Coverage] = dict.fromkeys(tails, EMPTY)
        self._ended: dict[SeriesId, QmtlError | None] = {}
        self._pumps: list[asyncio.Task[None]] = []

    def begin(self, start: int) -> None:
        """Store what comes from now on, of cells that begin at `start` or later (int ns UTC)."""

        async def work() -> None:
            for series, tail in self._tails.items():
                self._news[series] = asyncio.Event()
                self._pumps.append(asyncio.ensure_future(self._pump(series, tail, start)))

        self._loop.run(work())

    def wait(self, cells: Mapping[SeriesId, Span]) -> dict[SeriesId, str]:
        """Wait for bars. The series whose bar has not come in time, or will never come, with the reason.

        Raises what a feed raised whose bar is waited for.
        """

        async def work() -> dict[SeriesId, str]:
            found = await asyncio.gather(*(self._wait(series, cell) for series, cell in cells.items()))
            return {series: why for series, why in zip(cells, found, strict=True) if why is not None}

        return self._loop.run(work())

    def late(self, cells: Mapping[SeriesId, Span]) -> set[SeriesId]:
        """The series whose feed has brought its bar later than it is waited for."""

        async def work() -> None:
            for series, cell in cells.items():
                # A bar that is being stored is in the store before it is known here.
                while not (self._tails[series].is_idle or series in self._ended):
                    if self._answered[series].contains(cell):
                        break
                    self._news[series].clear()
                    await self._news[series].wait()

        self._loop.run(work())
        return {series for series, cell in cells.items() if self._late[series].contains(cell)}

    @property
    def is_over(self) -> bool:
        """Whether no feed brings anything more."""
        return len(self._ended) == len(self._tails)

    def close(self) -> None:
        """Stop listening."""

        async def work() -> None:
            for pump in self._pumps:
                pump.cancel()
            for pump in self._pumps:
                with suppress(asyncio.CancelledError):
                    await pump
            for tail in self._tails.values():
                await tail.close()

        self._loop.run(work())

    async def _pump(self, series: SeriesId, tail: Tail, start: int) -> None:
        left, lag = Coverage.of(Span(start, LATEST)), self._lags[series]
        error: QmtlError | None = None
        try:
            while (stored := await tail.store_next(left, self._store)) is not None:
                left = left - stored.answered
                if lag is not None:
                    # What ended longer ago is late, whoever looks when.
                    in_time = Span(round(stored.at - lag * SECOND), LATEST)
                    cells = [cell for cell in stored.answered.spans if cell.end < in_time.start]
                    self._late[series] |= Coverage(cells)
                self._answered[series] |= stored.answered
                self._news[series].set()
        except QmtlError as failed:
            error = failed
        self._ended[series] = error
        self._news[series].set()

    async def _wait(self, series: SeriesId, cell: Span) -> str | None:
        news, lag = self._news[series], self._lags[series]
        while True:
            news.clear()
            if self._late[series].contains(cell):
                return f"it came more than {lag:g} s after its close"
            if self._answered[series].contains(cell):
                return None
            if cell.end <= self.since:
                return "it had closed before its feed was followed"
            if series in self._ended:
                error = self._ended[series]
                if error is not None:
                    raise error
                return "its feed has ended"
            left = None if lag is None else (cell.end - self._clock.now()) / SECOND + lag
            if left is not None and left <= 0 and self._tails[series].is_idle:
                return f"it did not come within {lag:g} s of its close"
            # What came in time, and is not stored yet, is waited for.
            with suppress(TimeoutError):
                async with asyncio.timeout(left if left is not None and left > 0 else None):
                    await news.wait()


def listening(
    lags: Mapping[SeriesId, float | None],
    profiles: ProfileResolver,
    executor: FetchExecutor,
    loop: LoopThread,
) -> Listening:
    """Follow the feeds of these series from now on. Raises `InvalidRequestError` where one has none."""
    feeds = {series: profiles.of(series).feed for series in lags}
    lacking = [series for series, feed in feeds.items() if feed is None]
    if lacking:
        raise InvalidRequestError(
            "no live feed serves this series",
            series=lacking[0],
            next_step='give the provider one: SeamlessDataProvider(..., live={"ohlcv:*": feed})',
        )
    clock = executor.clock
    since = clock.now()

    async def work() -> dict[SeriesId, Tail]:
        return {
            series: Tail(
                feed,
                series,
                source=name_of(feed),
                grid=profiles.of(series).grid,
                facts=profiles.of(series).facts,
                clock=clock,
                settlement=executor.rules,
            )
            for series, feed in feeds.items()
            if feed is not None
        }

    return Listening(loop.run(work()), lags, since=since, store=executor.store, loop=loop, clock=clock)
