"""Bars of more than a hundred exchanges, through the ccxt library."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import polars as pl

from qmtl.foundation.certificates import advice, tls_problem
from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.errors import InvalidRequestError, SourceUnavailableError
from qmtl.foundation.frames import empty_bars, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.local_paths import web_address
from qmtl.foundation.observability.log import backfill_log
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import HOUR, iso
from qmtl.foundation.words import counted
from qmtl.runtime.io.fleet_rates import FleetRates
from qmtl.runtime.io.rates import RateBudget
from qmtl.runtime.io.retries import GaveUpError, retried
from qmtl.runtime.io.vendors.base import Page, Paging
from qmtl.runtime.io.vendors.ccxt_client import (
    CcxtClient,
    RateLimitError,
    judge,
    nearest,
    one_line,
    paging_of_exchange,
)
from qmtl.runtime.io.vendors.installed_exchanges import ccxt_exchanges
from qmtl.runtime.io.vendors.paging_evidence import (
    Inconclusive,
    PagingState,
    Proof,
    Unusable,
    first_of_all,
    from_the_epoch,
    next_request,
    read,
)

T = TypeVar("T")


class CcxtVendor:
    """A vendor over one exchange of ccxt, by its id there: `CcxtVendor("binance")`.

    urls: for proxies and simulators. A text replaces scheme, host and port of all the exchange's APIs; a
        mapping replaces whole URLs by ccxt's names of the APIs (`{"public":
        "http://localhost:8080/api/v3"}`).
    budget: how fast to ask; None is the rate that ccxt has for the exchange, shared by all processes of
        this machine. It is spent in ccxt's own costs, one per ordinary request.
    timeout_s: seconds that one request may take.
    options: more for ccxt's constructor: proxies, keys.
    clock: the local time; the exchange's own clock decides which bars have closed.

    Needs `qmtl[ccxt]`. It works on any number of event loops; `aclose` closes what the running one opened.
    """

    def __init__(
        self,
        exchange: str,
        *,
        urls: str | Mapping[str, str] | None = None,
        budget: RateBudget | None = None,
        timeout_s: float = 30.0,
        options: Mapping[str, Any] | None = None,
        clock: Clock | None = None,
    ) -> None:
        known = ccxt_exchanges()
        if exchange not in known:
            raise InvalidRequestError(
                f"ccxt has no exchange {exchange!r}", next_step=nearest(exchange, known, "exchanges")
            )
        for url in [urls] if isinstance(urls, str) else (urls or {}).values():
            web_address(url)
        self.exchange = exchange
        self.name = f"ccxt:{exchange}"
        self._urls = urls
        self._budget = budget
        self._fleet: FleetRates | None = None
        self._timeout_s = timeout_s
        self._options = dict(options or {})
        self._clock = clock or SystemClock()
        self._firsts: dict[SeriesId, int] = {}
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, CcxtClient] = WeakKeyDictionary()

    def __getstate__(self) -> dict[str, Any]:
        """For a vendor of another process: connections, and budgets that machines share, are of this one."""
        return vars(self) | {"_clients": None, "_fleet": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._clients = WeakKeyDictionary()

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        """Pages in order of time, each yielded as it comes; see `paging_evidence` for what they prove.

        Bars that have not closed are left out, and rows behind the span. Raises `InvalidRequestError` if the
        exchange does not have the symbol or timeframe, `SourceUnavailableError` when retries are exhausted.
        """
        if span.is_empty:
            return
        if "ccxt.async_support" not in sys.modules:
            # It takes seconds to load, and other work of this loop goes on meanwhile.
            await asyncio.to_thread(import_module, "ccxt.async_support")
        context = _RequestContext(self.name, series, span)
        client = self._client()
        await context.until_answered(client.open)
        client.check(series)
        now = await self._exchange_time(client, context)
        grid = Grid(series.timeframe)
        wanted = grid.align(span)
        wanted = Span(wanted.start, max(wanted.start, min(wanted.end, grid.floor(now))))
        most = client.most_rows(series.symbol)
        paging = PagingState(wanted, most, series.timeframe)
        at_the_head = True
        earlier = empty_bars()
        while not paging.wanted.is_empty:
            request = next_request(paging)
            frame = await context.until_answered(partial(client.bars, series, request.since, request.limit))
            match read(paging, stamps(frame), now):
                case Unusable(why):
                    raise context.unavailable(why)
                case Inconclusive(paging):
                    earlier = frame
                case Proof(answered, paging, first, of_earlier):
                    absent = EMPTY
                    if (
                        at_the_head
                        and first is not None
                        and first > answered.start == wanted.start
                        and first == await self._first_of_all(client, context, most, now)
                    ):
                        absent = Coverage.of(Span(answered.start, min(first, answered.end)))
                    at_the_head = at_the_head and first is None
                    yield Page(_within(earlier if of_earlier else frame, answered), answered, absent)

    def paging(self, series: SeriesId) -> Paging:
        """How many bars one request brings, and how many requests the budget allows; asks nobody."""
        paging = paging_of_exchange(self.exchange, series.symbol)
        return paging if self._budget is None else paging._replace(per_second=self._budget.per_second)

    async def _first_of_all(
        self, client: CcxtClient, context: _RequestContext, most: int, now: int
    ) -> int | None:
        """The first bar that the exchange has of a series, asked for once; None if it cannot be found."""
        series = context.series
        if series not in self._firsts:
            request = from_the_epoch(series.timeframe, most)
            try:
                frame = await context.until_answered(
                    partial(client.bars, series, request.since, request.limit)
                )
            except SourceUnavailableError:
                # Some refuse so old a time. The question is ours, and what was asked for is answered already.
                return None
            first = first_of_all(request, stamps(frame), now, series.timeframe)
            if first is None:
                return None
            self._firsts[series] = first
        return self._firsts[series]

    def share_rates(self, fleet: FleetRates) -> None:
        """Share the budget with other machines, unless one was handed over."""
        self._fleet = fleet

    async def aclose(self) -> None:
        """Close the connections that were opened on the running event loop. Reading opens them anew."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    def _client(self) -> CcxtClient:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = CcxtClient(
                self.exchange,
                self._urls,
                self._budget,
                self._timeout_s,
                self._options,
                self._clock,
                fleet=self._fleet,
            )
            self._clients[loop] = client
        return client

    async def _exchange_time(self, client: CcxtClient, context: _RequestContext) -> int:
        """What the exchange's clock shows: asked anew where it decides whether a bar has closed."""
        now = self._clock.now() + client.ahead
        if context.span.end + HOUR > now:
            await context.until_answered(client.compare_clocks)
            now = self._clock.now() + client.ahead
        return now


def _within(frame: pl.DataFrame, span: Span) -> pl.DataFrame:
    ts = stamps(frame)
    inside = (ts >= span.start) & (ts < span.end)
    return frame if bool(inside.all()) else frame.filter(inside)


@dataclass(frozen=True, slots=True)
class _RequestContext:
    """The source, series and span of a request: for errors and logs."""

    source: str
    series: SeriesId
    span: Span

    async def until_answered(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer, with errors of ccxt judged, retried where that is safe, and raised as ours."""
        import ccxt

        try:
            return await retried(ask, judge, self._log)
        except GaveUpError as error:
            raise self.unavailable(
                f"asked {counted(error.attempts, 'time')}; the last answer was {one_line(error.__cause__)}",
                is_away=True,
            ) from error.__cause__
        except ccxt.BadSymbol as error:
            raise InvalidRequestError(
                f"{self.source} does not serve {self.series.symbol!r} any more",
                series=self.series,
                span=self.span,
                why=one_line(error),
                next_step="look for the symbol on the exchange; it may have been renamed or delisted",
            ) from error
        except (ccxt.BaseError, RateLimitError) as error:
            raise self.unavailable(one_line(error), tls_problem(error)) from error

    def unavailable(
        self, why: str, tls: str | None = None, *, is_away: bool = False
    ) -> SourceUnavailableError:
        return SourceUnavailableError(
            f"{self.source} cannot be read",
            source=self.source,
            is_away=is_away,
            series=self.series,
            span=self.span,
            why=f"{tls} ({why})" if tls else why,
            next_step=advice(tls)
            if tls
            else "see whether the exchange is reachable from here, then ask again for what is missing",
        )

    def _log(self, error: Exception, pause_s: float) -> None:
        backfill_log.warning(
            "backfill.retry",
            node_id=str(self.series),
            interval=str(self.series.timeframe),
            start=iso(self.span.start),
            end=iso(self.span.end),
            source=self.source,
            error=one_line(error),
            pause_s=round(pause_s, 3),
        )
