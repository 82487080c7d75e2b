"""The newest bars, as a live feed closes them."""

from __future__ import annotations

import asyncio

import polars as pl

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import InvalidRequestError, QmtlError, SourceUnavailableError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import EARLIEST, LATEST
from qmtl.runtime.conformance.screen import Screened, screen
from qmtl.runtime.coordination.foreign import closing, is_cancelled, told
from qmtl.runtime.coordination.threads import in_thread
from qmtl.runtime.io.store.base import Store, Write
from qmtl.runtime.io.vendors.base import LiveFeed


class Tail:
    """Listens to a feed from the moment it is made, and keeps what closes until somebody wants it.

    It is started before history is asked for, since a bar that closes in between would otherwise be told
    to nobody.

    quarantined: impossible rows that were kept aside so far.
    """

    def __init__(self, feed: LiveFeed, series: SeriesId, *, source: str) -> None:
        self.quarantined = 0
        self._source = source
        self._closed: asyncio.Queue[pl.DataFrame | BaseException] = asyncio.Queue()
        self._listener = asyncio.ensure_future(self._listen(feed, series))

    async def _listen(self, feed: LiveFeed, series: SeriesId) -> None:
        try:
            facts = {"node_id": str(series), "interval": str(series.timeframe), "source": self._source}
            async with closing(aiter(feed.bars(series)), **facts) as updates:
                async for update in updates:
                    if update.closed:  # a forming bar is never stored
                        self._closed.put_nowait(update.frame)
        except (QmtlError, OSError) as error:
            self._closed.put_nowait(error)
        # A feed is foreign code: whatever it raises is its failure, and must not end our loop.
        except BaseException as cause:
            if isinstance(cause, asyncio.CancelledError) and is_cancelled():
                raise
            self._closed.put_nowait(self._failed(cause, series))

    def _failed(self, cause: BaseException, series: SeriesId) -> SourceUnavailableError:
        return SourceUnavailableError(
            f"the live feed {self._source} failed",
            source=self._source,
            series=series,
            why=told(cause),
            next_step=f"mend the live feed {self._source}",
        )

    async def store_missing(
        self,
        missing: Coverage,
        *,
        series: SeriesId,
        grid: Grid,
        facts: SeriesFacts,
        store: Store,
        clock: Clock,
    ) -> None:
        """Wait until each cell of `missing` has been told, and commit what is. Cancel it to stop waiting.

        Raises what the feed raised. A feed that ends has nothing more to say, and so returns.
        """
        while missing:
            told = await self._next()
            if told is None:
                return
            if isinstance(told, BaseException):
                raise told
            now = clock.now()
            screened = self._screened(told, series, grid, facts, now)
            wanted = screened.clean.filter(missing.holds(stamps(screened.clean)))
            impossible = screened.quarantine
            if wanted.height == 0 and impossible.height == 0:
                continue
            cells = grid.cells(stamps(wanted))
            write = Write(
                source=self._source,
                checked_at=now,
                frame=wanted,
                answered=cells,
                retracted=screened.retracted - cells,
                quarantine=impossible if impossible.height else None,
                declared=facts.storable,
            )
            await in_thread(store.commit, series, write)
            self.quarantined += impossible.height
            missing = missing - cells

    async def _next(self) -> pl.DataFrame | BaseException | None:
        """What the feed told next; None once it has ended and told all."""
        getter = asyncio.ensure_future(self._closed.get())
        try:
            await asyncio.wait({getter, self._listener}, return_when=asyncio.FIRST_COMPLETED)
            if not getter.done() and self._closed.empty():
                return None
            return await getter
        finally:
            getter.cancel()

    def _screened(self, told: object, series: SeriesId, grid: Grid, facts: SeriesFacts, now: int) -> Screened:
        try:
            if not isinstance(told, pl.DataFrame):
                raise InvalidRequestError("no frame", why=f"it is a {type(told).__name__}")
            return screen(told, grid=grid, facts=facts, within=Span(EARLIEST, LATEST), now=now)
        except InvalidRequestError as error:
            raise SourceUnavailableError(
                f"an update of the live feed {self._source} is refused",
                source=self._source,
                series=series,
                why=error.why,
                next_step=f"mend the live feed {self._source}; nothing of this update was stored",
            ) from error

    async def close(self) -> None:
        """Stop listening."""
        self._listener.cancel()
        await asyncio.wait({self._listener}, timeout=0.25)
