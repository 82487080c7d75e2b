"""One connection to an exchange: ccxt's client under our rate budget, its errors mapped to ours."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import polars as pl

from qmtl.foundation.certificates import VARIABLES, tls_problem, trusted_context
from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import VALUES, bars
from qmtl.foundation.series import SeriesId
from qmtl.foundation.spelling import near
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import EARLIEST, LATEST, SECOND
from qmtl.runtime.io.fleet_rates import FleetRates
from qmtl.runtime.io.rates import PATIENCE_S, RateBudget
from qmtl.runtime.io.retries import Again, retry_after
from qmtl.runtime.io.vendors.base import Paging
from qmtl.runtime.io.vendors.misplaced_rows import UNITS_FOR_MILLISECONDS, misplaced_rows

T = TypeVar("T")

_MILLISECOND = SECOND // 1000

_MOST_ROWS = 1000
_DEFAULT_ROWS = 500


@dataclass
class CcxtClient:
    """One client of ccxt on one event loop."""

    exchange: str
    urls: str | Mapping[str, str] | None
    budget: RateBudget | None
    timeout_s: float
    options: dict[str, Any]
    clock: Clock
    fleet: FleetRates | None = None
    ahead: int = 0  # nanoseconds that the exchange's clock is ahead of ours
    client: Any = None
    ready: bool = False
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def open(self) -> None:
        """Have the list of markets. Several may ask at once; if one is cancelled, the next goes on."""
        async with self.opening:
            if self.ready:
                return
            if self.client is None:
                self.client = self._new_client()
            await self._call(self.client.load_markets)
            await self.compare_clocks()
            self.ready = True

    def _new_client(self) -> Any:
        import ccxt.async_support

        client = getattr(ccxt.async_support, self.exchange)(
            {"timeout": round(self.timeout_s * 1000), **self.options, "enableRateLimit": True}
        )
        # ccxt trusts the package certifi alone, whatever certificates the machine trusts.
        if any(os.environ.get(name) for name in VARIABLES) and not {"cafile", "verify"} & set(self.options):
            client.ssl_context = trusted_context()
        if self.urls is not None:
            client.urls["api"] = replaced(client.urls["api"], self.urls)
        if self.budget is None:
            self.budget = RateBudget(
                _venue(self.exchange, self.urls), per_second=1000 / client.rateLimit, clock=self.clock
            )
            self.budget.fleet = self.fleet
        budget = self.budget

        async def throttle(cost: float | None = None) -> None:
            await budget.take(1.0 if cost is None else cost)

        # ccxt waits here before each request, and knows its cost; its own throttle knows this client only.
        client.throttle = throttle
        parsed = client.parse_ohlcvs

        def all_parsed(rows: Any, *market_and_timeframe: Any, **_: Any) -> Any:
            return parsed(rows, *market_and_timeframe[:2])

        # ccxt silently drops the rows from before `since`, so that an answer to another request looks like an
        # answer without a row. `paging_evidence` judges what comes back, and needs all rows.
        client.parse_ohlcvs = all_parsed
        return client

    async def close(self) -> None:
        async with self.opening:
            client, self.client, self.ready = self.client, None, False
            if client is not None:
                try:
                    await client.close()
                except AttributeError:
                    # Python 3.11.2 itself fails where the other side has just ended a TLS connection; later
                    # ones do not. The second call closes the rest.
                    await client.close()

    async def compare_clocks(self) -> None:
        """Ask for the exchange's time; without an answer it is assumed to equal ours."""
        if self.client.has.get("fetchTime") is True:
            exchange_time = await self._call(self.client.fetch_time)
            self.ahead = int(exchange_time) * _MILLISECOND - self.clock.now()

    def check(self, series: SeriesId) -> None:
        """Raises `InvalidRequestError` if the exchange does not have the series."""
        if series.symbol not in self.client.markets:
            ids = {market["id"]: symbol for symbol, market in self.client.markets.items()}
            own = ids.get(series.symbol)
            raise InvalidRequestError(
                f"{self.exchange} has no symbol {series.symbol!r}",
                series=series,
                next_step=f"write {own!r}" if own else nearest(series.symbol, self.client.markets, "symbols"),
            )
        frames = self.client.timeframes or {}
        if not self.client.has.get("fetchOHLCV") or str(series.timeframe) not in frames:
            raise InvalidRequestError(
                f"{self.exchange} has no bars of {series.timeframe}",
                series=series,
                next_step=f"it has {', '.join(frames) or 'no bars at all'}",
            )

    def most_rows(self, symbol: str) -> int:
        return _most_rows(self.client.feature_value(symbol, "fetchOHLCV", "limit"))

    async def bars(self, series: SeriesId, since: int, limit: int) -> pl.DataFrame:
        """One page as it comes: BAR_SCHEMA, unsorted, maybe with the forming bar. `since` in nanoseconds.

        Rows from before `since` are among them, if the exchange sends such.
        """
        import ccxt

        rows = await self._call(
            lambda: self.client.fetch_ohlcv(
                series.symbol, str(series.timeframe), since // _MILLISECOND, limit
            )
        )
        try:
            _refuse_other_units(rows, Span(since, since + limit * series.timeframe.step))
            return _frame(rows)
        except (TypeError, ValueError, IndexError, pl.exceptions.PolarsError) as error:
            raise ccxt.BadResponse(f"{self.exchange} sent rows that are no bars: {error}") from error

    async def _call(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer of the client. When it is rate limited, all processes of this machine pause."""
        import ccxt

        try:
            return await ask()
        except (ccxt.DDoSProtection, ccxt.RateLimitExceeded) as error:
            # No other task ran since the client noted these headers, so they belong to this answer.
            after_s = retry_after(self.client.last_response_headers, self.clock.now())
            if after_s is None or self.budget is None:
                raise
            await self.budget.pause(after_s)
            raise RateLimitError(after_s) from error


def _most_rows(limit: int | None) -> int:
    """What the exchange allows, but pages small enough to show progress."""
    return min(_MOST_ROWS, int(limit)) if limit else _DEFAULT_ROWS


@cache
def _offline(exchange: str) -> Any:
    """What ccxt knows of an exchange without asking it."""
    import ccxt

    return getattr(ccxt, exchange)()


def paging_of_exchange(exchange: str, symbol: str) -> Paging:
    """The limits that ccxt has for bars of a symbol. A symbol with a settlement currency is of a swap."""
    client = _offline(exchange)
    settled = symbol.partition(":")[2]
    kind = (
        ("swap", "inverse" if symbol.startswith(f"{settled}/") else "linear") if settled else ("spot", None)
    )
    limit = client.feature_value_by_type(*kind, "fetchOHLCV", "limit")
    return Paging(_most_rows(limit), 1000 / client.rateLimit)


class RateLimitError(Exception):
    """The exchange asks to be left alone for `after_s` seconds."""

    def __init__(self, after_s: float) -> None:
        super().__init__(f"it asks to be left alone for {after_s:g} s")
        self.after_s = after_s


def judge(error: Exception) -> Again | None:
    """Which errors may pass by themselves: of the network, of servers, and of answers that broke off."""
    import aiohttp
    import ccxt

    if isinstance(error, RateLimitError):
        return Again(error.after_s) if error.after_s <= PATIENCE_S else None
    if tls_problem(error) is not None:
        return None  # a certificate that is not trusted will not be in a moment
    if isinstance(error, ccxt.OperationFailed):
        return Again()
    # ccxt reports a connection that was cut within an answer as a general error.
    broke_off = isinstance(error, ccxt.ExchangeError) and isinstance(error.__cause__, aiohttp.ClientError)
    return Again() if broke_off else None


def _refuse_other_units(rows: list[list[Any]], requested: Span) -> None:
    """Raise ValueError for stamps that are no milliseconds: as nanoseconds they would overflow."""
    times = [int(row[0]) * _MILLISECOND for row in rows]
    if times and not (min(times) >= EARLIEST and max(times) <= LATEST):
        raise ValueError(
            misplaced_rows(len(times), min(times), max(times), requested, UNITS_FOR_MILLISECONDS)
        )


def _frame(rows: list[list[Any]]) -> pl.DataFrame:
    """Rows of ccxt, `[milliseconds, open, high, low, close, volume]`, as a frame; None becomes null."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * 6
    ts = np.array([int(ms) for ms in columns[0]], dtype=np.int64) * _MILLISECOND
    values = (
        pl.Series(name, column, dtype=pl.Float64) for name, column in zip(VALUES, columns[1:6], strict=True)
    )
    return bars(ts, {column.name: column for column in values})


def one_line(error: BaseException | None) -> str:
    """An error of ccxt as one line, with the cause that it hides."""
    cause = error.__cause__ if error is not None else None
    text = f"{type(error).__name__}: {error}" + (f" ({type(cause).__name__}: {cause})" if cause else "")
    return " ".join(text.split())[:500]


def replaced(api: Any, urls: str | Mapping[str, str]) -> Any:
    """ccxt's tree of API URLs with others put in. `InvalidRequestError` for names that it does not have."""
    if isinstance(urls, str):
        if isinstance(api, dict):
            return {name: replaced(one, urls) for name, one in api.items()}
        new, old = urlsplit(urls), urlsplit(api)
        return urlunsplit(
            old._replace(scheme=new.scheme, netloc=new.netloc, path=new.path.rstrip("/") + old.path)
        )
    known = api if isinstance(api, dict) else {}
    for name in urls:
        if name not in known:
            raise InvalidRequestError(
                f"ccxt has no API {name!r} there", next_step=nearest(name, known, "APIs")
            )
    return {**known, **urls}


def _venue(exchange: str, urls: str | Mapping[str, str] | None) -> str:
    """Whose budget is spent: the exchange's, or that of the host that stands in for it."""
    if urls is None:
        return exchange
    hosts = {urlsplit(url).netloc for url in ([urls] if isinstance(urls, str) else urls.values())}
    return "@".join([exchange, ",".join(sorted(hosts))])


def nearest(name: str, known: Collection[str], what: str) -> str:
    """What to do about a name that is not known.

    Another exchange or symbol has other bars, so only a name that is one typing error away is
    given; for a symbol, only one of the same base: ETH/USDT and ETC/USDT are not alike at all.
    """
    base, pair, _ = name.casefold().partition("/")
    found = [one for one in near(name, known) if not pair or one.casefold().startswith(f"{base}/")]
    if found:
        return f"did you mean {' or '.join(found[:3])}?"
    return f"it has {len(known)} {what}, and none is one slip of the pen away"
