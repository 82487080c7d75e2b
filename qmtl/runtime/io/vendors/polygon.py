"""Bars of US equities from Polygon's REST API: unadjusted and adjusted ones are series of their own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any
from weakref import WeakKeyDictionary

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.errors import InvalidRequestError, SourceUnavailableError
from qmtl.foundation.frames import empty_bars, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.local_paths import web_address
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.fleet_rates import FleetRates
from qmtl.runtime.io.rates import RateBudget
from qmtl.runtime.io.vendors.base import Page, Paging
from qmtl.runtime.io.vendors.polygon_client import PolygonClient, PolygonRequest
from qmtl.runtime.io.vendors.polygon_wire import (
    MOST_ROWS,
    aggregates_path,
    closed_until,
    frame_of,
    timespan_of,
)

KEY_VARIABLE = "POLYGON_API_KEY"
ADDRESS = "https://api.polygon.io"
FREE_PER_MINUTE = 5.0

# Whether bars are adjusted for splits is a matter of the venue: what is stored is never of both kinds.
_ADJUSTED = {"polygon": False, "polygon-adjusted": True}

# So many answers in a row without a further bar are no answer.
_PATIENCE = 20


class PolygonVendor:
    """A vendor over Polygon's aggregates: `ohlcv:polygon:AAPL:1d`, and adjusted for splits
    `ohlcv:polygon-adjusted:AAPL:1d`.

    url: of the API; for proxies and simulators. per_minute: requests that the plan allows; the free one
        allows five. They are shared by all processes of this machine. key: of the API; left out, the variable
        POLYGON_API_KEY. It is sent as a header to `url` alone, and never shown. budget: in the place of
        `per_minute`. timeout_s: seconds that one request may take.

    Timeframes are minutes that divide an hour, `1h` and `1d`. A daily bar is stamped with the date of its
    session, which is that of New York. Needs aiohttp (`qmtl[polygon]`).
    """

    name = "polygon"

    def __init__(
        self,
        *,
        url: str = ADDRESS,
        per_minute: float = FREE_PER_MINUTE,
        key: str | None = None,
        budget: RateBudget | None = None,
        timeout_s: float = 30.0,
        clock: Clock | None = None,
    ) -> None:
        web_address(url)
        self._url = url.rstrip("/")
        self._key = key
        self._timeout_s = timeout_s
        self._clock = clock or SystemClock()
        venue = self.name if self._url == ADDRESS else f"{self.name}@{self._url.partition('//')[2]}"
        # One at a time: whoever has spent a minute's requests at once waits for the rest of the minute.
        self._budget = budget or RateBudget(venue, per_second=per_minute / 60.0, burst=1.0, clock=self._clock)
        self._has_own_budget = budget is None
        self._known: set[str] = set()
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, PolygonClient] = WeakKeyDictionary()

    def __getstate__(self) -> dict[str, Any]:
        """For a vendor of another process: connections are of this one, and its environment."""
        return vars(self) | {"_clients": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._clients = WeakKeyDictionary()

    def paging(self, series: SeriesId) -> Paging:
        """How many bars one request brings, and how many requests the budget allows; asks nobody."""
        return Paging(MOST_ROWS // timespan_of(series).base_bars, self._budget.per_second)

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        """Pages in order of time, by the cursor of the source.

        A page proves what lies up to its last row. That nothing follows is believed when two answers say so:
        a page that was cut short looks like the last one. Raises `InvalidRequestError` for a ticker, venue or
        timeframe that is not served, `SourceUnavailableError` when retries are exhausted.
        """
        timespan, adjusted = timespan_of(series), _adjusted(series)
        grid = Grid(series.timeframe)
        wanted = grid.align(span)
        end = min(wanted.end, closed_until(timespan, grid, self._clock.now()))
        at, known, ended, unproductive = wanted.start, None, False, 0
        if at >= end:
            return
        client = self._client(series)
        ask = PolygonRequest(client, series, span)
        cursor: str | None = None
        while at < end:
            asked_from = at if known is None else known
            path = cursor or aggregates_path(series, timespan, Span(asked_from, end), adjusted=adjusted)
            answer = await ask.answer(path)
            frame = frame_of(
                answer, timespan, Span(asked_from, end), adjusted=adjusted, refuse=ask.unavailable
            )
            ts = stamps(frame)
            if known is not None and cursor is None and known not in ts:
                raise ask.unavailable("it no longer has the bar that it gave a moment ago")
            cursor = ask.cursor(answer)
            fresh = frame.filter(ts >= at)
            if fresh.height:
                last = int(stamps(fresh)[-1])
                yield Page(fresh, Span(at, grid.after(last)))
                at, known, ended, unproductive = grid.after(last), last, cursor is None, 0
                continue
            unproductive += 1
            if unproductive == _PATIENCE:
                raise ask.unavailable(f"{_PATIENCE} answers in a row brought no further bar")
            if cursor is None and ended:
                yield Page(empty_bars(), Span(at, end))
                return
            if cursor is None:
                ended = True
                await self._must_be_known(ask, series)

    async def _must_be_known(self, ask: PolygonRequest, series: SeriesId) -> None:
        """A ticker that does not exist is answered without bars, just as one that did not trade."""
        if series.symbol in self._known:
            return
        if not await ask.knows(series.symbol):
            raise InvalidRequestError(
                f"{self.name} has no ticker {series.symbol!r}",
                series=series,
                next_step="write it as the exchange does, such as BRK.B; capitals matter",
            )
        self._known.add(series.symbol)

    def _client(self, series: SeriesId) -> PolygonClient:
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            key = self._key or os.environ.get(KEY_VARIABLE, "").strip()
            if not key:
                raise SourceUnavailableError(
                    f"{self.name} cannot be asked without a key",
                    source=self.name,
                    series=series,
                    why=f"the variable {KEY_VARIABLE} is not set",
                    next_step=f"set {KEY_VARIABLE} to the key of your account",
                )
            self._clients[loop] = PolygonClient(self._url, key, self._budget, self._timeout_s, self._clock)
        return self._clients[loop]

    def share_rates(self, fleet: FleetRates) -> None:
        """Share the budget with other machines, unless one was handed over."""
        if self._has_own_budget:
            self._budget.fleet = fleet

    async def aclose(self) -> None:
        """Close the connections that were opened on the running event loop. Reading opens them anew."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()


def _adjusted(series: SeriesId) -> bool:
    if series.venue not in _ADJUSTED:
        raise InvalidRequestError(
            f"the vendor polygon serves no venue {series.venue!r}",
            series=series,
            why="by the venue it knows whether bars are adjusted for splits, so that the two never mix",
            next_step="write ohlcv:polygon:... for unadjusted bars, else ohlcv:polygon-adjusted:...",
        )
    return _ADJUSTED[series.venue]
