"""Listens to a live feed: keeps what closes until somebody takes it, connects again, and reports gaps."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import polars as pl

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import QmtlError, SourceUnavailableError
from qmtl.foundation.observability.log import backfill_log
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import iso
from qmtl.runtime.ingest.foreign import closing, error_text, is_cancelled
from qmtl.runtime.io.vendors.base import LiveFeed, Update

# How long a feed may take to close its connection before it is left behind.
CLOSED_WITHIN_S = 0.25


class ClosedBars(NamedTuple):
    """An update whose bars are final. `frame` is the feed's own, not checked yet; it came at `at` (ns)."""

    frame: pl.DataFrame
    at: int


class FeedGap(NamedTuple):
    """Updates may be missing that came, or would have come, within `span` (ns of the clock): ask a vendor.

    Where a connection stays broken, each try to open it is followed by the gap since the one before.
    """

    span: Span
    why: str


class FeedEnded(NamedTuple):
    """Nothing more will come. `error` says why; None where the feed ended by itself, or was closed."""

    error: QmtlError | None


Heard: TypeAlias = ClosedBars | FeedGap | FeedEnded


@dataclass(frozen=True, slots=True)
class ListeningPolicy:
    """Bounds of a listener; seconds.

    queue: how many updates are kept. When it is full, newer ones are refused, and a `FeedGap` stands in their
        place: nothing is dropped without a trace, and what was kept first stays in order.
    tries: how often a broken connection is opened without an update in between.
    first_pause, longest_pause: between two tries; each is twice the last, times 0.5 to 1.0 at random.
    silence: a connection that brings no update for so long, forming ones included, counts as broken; None
        waits for ever.
    """

    queue: int = 1_024
    tries: int = 4
    first_pause: float = 0.5
    longest_pause: float = 30.0
    silence: float | None = None


class FeedListener:
    """Listens to one series of a feed from the moment it is made. Used on one event loop.

    jitter: gives numbers from 0 to 1.
    """

    def __init__(
        self,
        feed: LiveFeed,
        series: SeriesId,
        *,
        source: str,
        clock: Clock,
        jitter: Callable[[], float],
        policy: ListeningPolicy | None = None,
    ) -> None:
        self._feed = feed
        self._series = series
        self._source = source
        self._clock = clock
        self._jitter = jitter
        self._policy = policy or ListeningPolicy()
        self._heard: deque[Heard] = deque()
        self._news = asyncio.Event()
        self._last_update = self._gap_until = clock.now()
        self._listener = asyncio.ensure_future(self._listen())
        self._listener.add_done_callback(self._over)

    async def next(self) -> Heard:
        """What was heard next, in order; once there is a `FeedEnded`, always that."""
        while not self._heard:
            self._news.clear()
            await self._news.wait()
        first = self._heard[0]
        if not isinstance(first, FeedEnded):
            self._heard.popleft()
        return first

    @property
    def has_heard(self) -> bool:
        """Whether `next` has something to give at once."""
        return bool(self._heard)

    async def close(self) -> None:
        """Stop listening. A feed that does not close its connection in time is left behind, and logged."""
        self._listener.cancel()
        await asyncio.wait({self._listener}, timeout=CLOSED_WITHIN_S)
        if not self._listener.done():
            backfill_log.warning("feed.left_behind", **self._log_facts(), seconds=CLOSED_WITHIN_S)

    # -- listening --------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Read updates until the feed ends or fails; connect again where its connection breaks."""
        policy, left, pause = self._policy, self._policy.tries, self._policy.first_pause
        while True:
            before = self._last_update
            try:
                await self._read()
                self._add(FeedEnded(None))
                return
            except _Silent as silent:
                cause: BaseException = silent
            except OSError as error:
                if isinstance(error, QmtlError):
                    self._add(FeedEnded(error))
                    return
                cause = error
            except QmtlError as error:
                self._add(FeedEnded(error))
                return
            # A feed is foreign code: whatever it raises is its failure, and must not end our loop.
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError) and is_cancelled():
                    raise
                self._add(FeedEnded(self._failed(error)))
                return
            if self._last_update != before:
                left, pause = policy.tries, policy.first_pause
            left -= 1
            if left <= 0:
                self._add(FeedEnded(self._broke_off(cause)))
                return
            wait = pause * (0.5 + 0.5 * self._jitter())
            backfill_log.warning(
                "feed.reconnecting", **self._log_facts(), error=error_text(cause), pause_s=round(wait, 3)
            )
            await asyncio.sleep(wait)
            pause = min(pause * 2, policy.longest_pause)
            self._mark_gap(
                max(self._last_update, self._gap_until), f"the connection broke: {error_text(cause)}"
            )

    async def _read(self) -> None:
        """The updates of one connection."""
        feed_updates = closing(aiter(self._feed.bars(self._series)), **self._log_facts())
        async with feed_updates as updates, aclosing(self._watched(updates)) as watched:
            async for update in watched:
                self._last_update = self._clock.now()
                if update.closed:  # a forming bar is never stored
                    self._keep(update.frame)
                # A feed that has its next update at hand never waits, and would keep the loop to itself.
                await asyncio.sleep(0)

    async def _watched(self, updates: AsyncIterator[Update]) -> AsyncGenerator[Update, None]:
        """The updates; raises `_Silent` where none comes in time."""
        while True:
            try:
                async with asyncio.timeout(self._policy.silence) as limit:
                    update = await anext(updates)
            except StopAsyncIteration:
                return
            except TimeoutError:
                if not limit.expired():
                    raise  # the feed's own
                raise _Silent(f"no update for {self._policy.silence:g} s") from None
            yield update

    def _keep(self, frame: pl.DataFrame) -> None:
        if len(self._heard) >= self._policy.queue:
            self._mark_gap(self._clock.now(), f"{self._policy.queue:,} updates are waiting to be taken")
        else:
            self._add(ClosedBars(frame, self._last_update))

    def _mark_gap(self, since: int, why: str) -> None:
        """From `since` (ns) to now. One gap after another is one wider gap, so that they are bounded, too."""
        span = Span(since, max(since, self._clock.now()))
        self._gap_until = span.end
        last = self._heard[-1] if self._heard else None
        if isinstance(last, FeedGap):
            self._heard[-1] = last._replace(span=Span(last.span.start, max(last.span.end, span.end)))
        else:
            self._add(FeedGap(span, why))

    def _add(self, heard: Heard) -> None:
        self._heard.append(heard)
        self._news.set()

    def _over(self, _: asyncio.Future[None]) -> None:
        """Wake up `next`, also where the listener was closed."""
        if not self._heard or not isinstance(self._heard[-1], FeedEnded):
            self._add(FeedEnded(None))

    # -- facts ------------------------------------------------------------------------------------------

    def _log_facts(self) -> dict[str, str]:
        now = iso(self._clock.now())
        return {
            "node_id": str(self._series),
            "interval": str(self._series.timeframe),
            "start": now,
            "end": now,
            "source": self._source,
        }

    def _failed(self, cause: BaseException) -> SourceUnavailableError:
        return SourceUnavailableError(
            f"the live feed {self._source} failed",
            source=self._source,
            series=self._series,
            why=error_text(cause),
            next_step=f"repair the live feed {self._source}",
        )

    def _broke_off(self, cause: BaseException) -> SourceUnavailableError:
        error = SourceUnavailableError(
            f"the live feed {self._source} broke off",
            source=self._source,
            series=self._series,
            why=str(cause) if isinstance(cause, _Silent) else error_text(cause),
            next_step="try again; history is asked of the vendor first",
        )
        error.__cause__ = cause
        return error


class _Silent(Exception):
    """The connection brings nothing any more."""
