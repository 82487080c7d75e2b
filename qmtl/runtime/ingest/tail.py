"""The newest bars of a fetch, as a live feed closes them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import NamedTuple

import polars as pl

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import InvalidRequestError, SourceUnavailableError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import EARLIEST, LATEST
from qmtl.runtime.conformance.screen import Screened, screen
from qmtl.runtime.ingest.answers import write_of
from qmtl.runtime.ingest.committing import committed
from qmtl.runtime.ingest.feed_listener import ClosedBars, FeedEnded, FeedListener, Heard
from qmtl.runtime.ingest.settlement import SettlementPolicy
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.io.vendors.base import LiveFeed


class Stored(NamedTuple):
    """What an update has answered for, and when it came (ns of the clock)."""

    answered: Coverage
    at: int


class Tail:
    """Listens to a feed from the moment it is made, and stores what closes once somebody asks for it.

    It is started before history is asked for: a bar that closes in between would be in neither.

    added: rows that were new to the store so far.
    refused: rows so far that the store cannot hold: impossible ones, which are kept aside, and those of
        updates that are no bars.
    """

    def __init__(
        self,
        feed: LiveFeed,
        series: SeriesId,
        *,
        source: str,
        grid: Grid,
        facts: SeriesFacts,
        clock: Clock,
        settlement: SettlementPolicy,
    ) -> None:
        self.added = self.refused = 0
        self._is_storing = False
        self._series = series
        self._source = source
        self._grid = grid
        self._facts = facts
        self._clock = clock
        self._settlement = settlement
        self._listener = FeedListener(feed, series, source=source, clock=clock, jitter=random.random)

    async def store_missing(self, missing: Coverage, store: Store) -> None:
        """Wait until each cell of `missing` has come, and commit what comes. Cancel it to stop waiting.

        Raises what the feed raised. A feed that ends has nothing more to bring, so that this returns. Bars
        that fell into a gap of the feed stay missing.
        """
        while missing:
            stored = await self.store_next(missing, store)
            if stored is None:
                return
            missing = missing - stored.answered

    async def store_next(self, missing: Coverage, store: Store) -> Stored | None:
        """Wait for what is heard next, and commit what it has of `missing`; None once the feed has ended.

        Raises what the feed raised.
        """
        heard = await self._listener.next()
        self._is_storing = True
        try:
            return await self._stored(heard, missing, store)
        finally:
            self._is_storing = False

    @property
    def is_idle(self) -> bool:
        """Whether all that was heard so far is stored."""
        return not self._is_storing and not self._listener.has_heard

    async def _stored(self, heard: Heard, missing: Coverage, store: Store) -> Stored | None:
        if isinstance(heard, FeedEnded):
            if heard.error is not None:
                error = heard.error
                error.span = error.span or missing.hull
                raise error
            return None
        if not isinstance(heard, ClosedBars):
            return Stored(EMPTY, heard.span.end)
        write = self._write_of(heard, missing)
        if write.answered or write.quarantine is not None:
            commit = await committed(store, self._series, write)
            self.added += commit.added
            self.refused += 0 if write.quarantine is None else write.quarantine.height
        return Stored(write.answered, heard.at)

    def _write_of(self, heard: ClosedBars, missing: Coverage) -> Write:
        """An update as a write. Only missing bars are answered for: the others keep their rows and answers.

        A row without any price is an answer as one of a vendor is: nothing was traded, if the bar had closed
        long enough before.
        """
        now = self._clock.now()
        screened = self._screened(heard.frame, now)
        clean = screened.clean.filter(missing.holds(stamps(screened.clean)))
        write = write_of(
            replace(screened, clean=clean, retracted=screened.retracted & missing),
            self._grid.cells(stamps(clean)) | (screened.no_trade & missing),
            grid=self._grid,
            facts=self._facts,
            source=self._source,
            asked_at=now,
            settlement=self._settlement,
        )
        return replace(write, delivered_at=dict.fromkeys(stamps(write.frame).tolist(), heard.at))

    def _screened(self, frame: object, now: int) -> Screened:
        try:
            if not isinstance(frame, pl.DataFrame):
                raise InvalidRequestError("no frame", why=f"it is a {type(frame).__name__}")
            return screen(frame, grid=self._grid, facts=self._facts, within=Span(EARLIEST, LATEST), now=now)
        except InvalidRequestError as error:
            self.refused += frame.height if isinstance(frame, pl.DataFrame) else 0
            raise SourceUnavailableError(
                f"an update of the live feed {self._source} is refused",
                source=self._source,
                series=self._series,
                why=error.why,
                next_step=f"repair the live feed {self._source}; nothing of this update was stored",
            ) from error

    async def close(self) -> None:
        """Stop listening."""
        await self._listener.close()
