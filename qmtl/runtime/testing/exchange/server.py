"""The HTTP face of the simulated exchange: a Binance-shaped REST API, on this machine only."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import bars as bar_frame
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import EARLIEST, LATEST
from qmtl.runtime.testing.exchange.faults import (
    Altered,
    Cached,
    Cut,
    Elsewhere,
    Fault,
    NoAnswer,
    Outage,
    ShortPage,
    SinceIgnored,
    Status,
)
from qmtl.runtime.testing.exchange.market import MILLISECOND, Bars, Market
from qmtl.runtime.testing.exchange.wire import (
    BAD_SYMBOL,
    INTERNAL,
    TOO_MANY,
    Refused,
    agg_trade,
    klines,
    limit_of,
    listing,
    time_of,
    timeframe_of,
    trade_row,
)
from qmtl.runtime.testing.local_server import LocalServer, half

if TYPE_CHECKING:
    from aiohttp import web

KLINES = "/api/v3/klines"
TRADES = "/api/v3/aggTrades"

_TIMES = ("startTime", "endTime")


class Request(NamedTuple):
    """One request that came in: path, parameters, and the status it got (0: it got none, or half of one)."""

    path: str
    parameters: Mapping[str, str]
    status: int


@dataclass
class _Pending:
    """A fault that waits for its request."""

    fault: Fault
    path: str


class SimulatedExchange:
    """An exchange with made-up markets: `with SimulatedExchange() as exchange: ... exchange.url ...`.

    It serves `/api/v3/ping`, `time`, `exchangeInfo`, `klines`, `aggTrades` and `trades` as Binance's spot API
    does: at most 1,000 rows, oldest first, `endTime` inclusive, the forming bar last. Unmodified ccxt talks
    to it (`CcxtVendor("binance", urls=exchange.url)`); its futures APIs have no symbols. Bars are the roll-up
    of the trades, and for the same seed the bars of `synthetic_bars` (from a minute up).

    symbols: as in node ids. listed: when trading began. seed: which walks.
    quiet / quiet_share: minutes without trades, as in `Market`; they have no kline.
    clock: the exchange's own time; only `now()` is asked. port: 0 takes a free one.
    on_request: called with each request as it comes, before anything is answered.

    It runs in a thread of its own. All methods may be called from any thread. Needs `qmtl[testing]`.
    """

    def __init__(
        self,
        symbols: Iterable[str] = ("BTC/USDT", "ETH/USDT"),
        *,
        listed: Any = "2017-08-17",
        seed: int = 0,
        quiet: Coverage = EMPTY,
        quiet_share: float = 0.0,
        clock: Clock | None = None,
        port: int = 0,
        on_request: Callable[[Request], None] | None = None,
    ) -> None:
        self._on_request = on_request
        self._clock = clock or SystemClock()
        self.markets = {
            symbol: Market(
                symbol, self._clock.now, listed=listed, seed=seed, quiet=quiet, quiet_share=quiet_share
            )
            for symbol in symbols
        }
        self._by_id = {symbol.replace("/", ""): market for symbol, market in self.markets.items()}
        self._server = LocalServer(self._handle, name="simulated-exchange", port=port)
        self._lock = threading.Lock()
        self._pending: list[_Pending] = []
        self._outages: list[Outage] = []
        self._requests: list[Request] = []

    # For tests: set faults, read what was requested.

    def fail(self, fault: Fault, *, times: int = 1, path: str = KLINES) -> None:
        """The next `times` requests for `path` meet this fault; several wait in the order they were given."""
        with self._lock:
            self._pending += [_Pending(fault, path)] * times

    def begin(self, outage: Outage) -> None:
        """An outage lasts from now until `recover()`."""
        with self._lock:
            self._outages.append(outage)

    def recover(self) -> None:
        """All outages end, and faults that have not happened yet never will."""
        with self._lock:
            self._outages.clear()
            self._pending.clear()

    def correct(self, symbol: str, at: Any, **values: float) -> None:
        """A late correction of the minute at `at`; see `Market.correct`."""
        self._market_of(symbol).correct(at, **values)

    def bars(self, series: SeriesId | str, span: Span) -> pl.DataFrame:
        """The closed bars that the exchange truly has in `span`, whatever its faults: BAR_SCHEMA."""
        series = SeriesId.parse(series) if isinstance(series, str) else series
        found = self._market_of(series.symbol).bars(series.timeframe, span)
        closed = found.ts + series.timeframe.step <= self._clock.now()
        ts, *values = (column[closed] for column in found)
        scales = (100.0, 100.0, 100.0, 100.0, 1000.0)
        names = ("open", "high", "low", "close", "volume")
        return bar_frame(ts, {n: v / s for n, v, s in zip(names, values, scales, strict=True)})

    @property
    def requests(self) -> list[Request]:
        """All requests since the start, or since `forget_requests`, in order."""
        with self._lock:
            return list(self._requests)

    def count(self, path: str = KLINES) -> int:
        """How many requests came for `path`."""
        return sum(request.path == path for request in self.requests)

    def forget_requests(self) -> None:
        """Empty the log of requests."""
        with self._lock:
            self._requests.clear()

    def _market_of(self, symbol: str) -> Market:
        try:
            return self.markets[symbol]
        except KeyError:
            raise InvalidRequestError(
                f"this exchange has no symbol {symbol!r}", next_step=f"it has {', '.join(self.markets)}"
            ) from None

    # Running.

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, once started."""
        return self._server.url

    def start(self) -> SimulatedExchange:
        """Begin to serve; returns when it does. OSError if the port is taken."""
        self._server.start()
        return self

    def close(self) -> None:
        """Stop serving; open connections are dropped. May be called twice."""
        self._server.close()

    def __enter__(self) -> SimulatedExchange:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # Answering.

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        fault = self._next_fault(request.path)
        came = Request(request.path, dict(request.query), 0)
        if self._on_request is not None:
            self._on_request(came)
        with self._lock:
            entry = len(self._requests)
            self._requests.append(came)
        response = await self._respond(request, fault)
        with self._lock:
            if entry < len(self._requests) and isinstance(response, web.Response):
                self._requests[entry] = self._requests[entry]._replace(status=response.status)
        return response

    def _next_fault(self, path: str) -> Fault | None:
        with self._lock:
            for i, pending in enumerate(self._pending):
                if pending.path == path:
                    return self._pending.pop(i).fault
        return None

    async def _respond(self, request: web.Request, fault: Fault | None) -> web.StreamResponse:
        match fault:
            case Status(status, retry_after):
                return _error(status, TOO_MANY if status in (418, 429) else INTERNAL, retry_after)
            case NoAnswer():
                await self._server.closing()
        try:
            body = self._answer(request.path, dict(request.query), fault)
        except Refused as refused:
            return _error(400, refused.error)
        except _Down as down:
            return _error(down.status, INTERNAL)
        if body is None:
            return _error(404, INTERNAL)
        text = json.dumps(body, separators=(",", ":")).encode()
        if isinstance(fault, Cut):
            return await half(request, text, fault.share)
        return _json(text)

    def _answer(self, path: str, query: dict[str, str], fault: Fault | None) -> Any:
        """What the exchange says, before it goes over the wire; None if there is no such path."""
        match path:
            case "/api/v3/ping":
                return {}
            case "/api/v3/time":
                return {"serverTime": self._clock.now() // MILLISECOND}
            case "/api/v3/exchangeInfo":
                return self._info([listing(symbol) for symbol in self.markets])
            case "/fapi/v1/exchangeInfo" | "/dapi/v1/exchangeInfo":
                return self._info([])
            case "/api/v3/klines":
                return _broken(self._klines(_misread(query, fault)), fault)
            case "/api/v3/aggTrades":
                return _broken(self._agg_trades(query), fault)
            case "/api/v3/trades":
                trades = self._market(query).last_trades(limit_of(query))
                return _broken([trade_row(trade) for trade in trades], fault)
        return None

    def _info(self, symbols: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "timezone": "UTC",
            "serverTime": self._clock.now() // MILLISECOND,
            "rateLimits": [],
            "exchangeFilters": [],
            "symbols": symbols,
        }

    def _klines(self, query: dict[str, str]) -> list[Any]:
        market, limit = self._market(query), limit_of(query)
        timeframe = timeframe_of(query)
        start, end = time_of(query, "startTime"), time_of(query, "endTime")
        # endTime is inclusive, in milliseconds: the first nanosecond that is not meant.
        stop = LATEST if end is None else (end + 1) * MILLISECOND
        if start is None:
            found = market.last_bars(timeframe, stop, limit)
            first = int(found.ts[0]) if len(found.ts) else stop
        else:
            first = start * MILLISECOND
            found = market.bars(timeframe, Span(first, max(first, stop)), limit=limit)
        return klines(self._without_outages(found, first), timeframe)

    def _without_outages(self, found: Bars, first: int) -> Bars:
        """The bars that a request from `first` to the last of them gets, without those lost in outages."""
        with self._lock:
            outages = list(self._outages)
        last = int(found.ts[-1]) if len(found.ts) else first
        for outage in outages:
            if outage.status is not None and first < outage.span.end and outage.span.start <= last:
                raise _Down(outage.status)
        lost = Coverage(outage.span for outage in outages if outage.status is None)
        available = ~lost.holds(found.ts)
        return Bars(*(column[available] for column in found))

    def _agg_trades(self, query: dict[str, str]) -> list[Any]:
        market, limit = self._market(query), limit_of(query)
        start, end, first = (time_of(query, name) for name in ("startTime", "endTime", "fromId"))
        if first is not None:
            found = market.trades_from(first, limit=limit)
        elif start is not None or end is not None:
            begin = EARLIEST if start is None else start * MILLISECOND
            stop = LATEST if end is None else (end + 1) * MILLISECOND
            found = market.trades(Span(begin, max(begin, stop)), limit=limit)
        else:
            found = market.last_trades(limit)
        return [agg_trade(trade) for trade in found]

    def _market(self, query: dict[str, str]) -> Market:
        market = self._by_id.get(query.get("symbol", ""))
        if market is None:
            raise Refused(BAD_SYMBOL)
        return market


class _Down(Exception):
    """The requested range is not available at present."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _misread(query: dict[str, str], fault: Fault | None) -> dict[str, str]:
    """The query that is answered in place of the one that was sent."""
    match fault:
        case Elsewhere(nanoseconds):
            later = {name: int(query[name]) + nanoseconds // MILLISECOND for name in _TIMES if name in query}
            return {**query, **{name: str(max(0, time)) for name, time in later.items()}}
        case SinceIgnored(most):
            kept = {name: value for name, value in query.items() if name not in _TIMES}
            return {**kept, "limit": str(min(limit_of(query), most))}
        case Cached(start, rows):
            kept = {name: value for name, value in query.items() if name not in _TIMES}
            return {**kept, "startTime": str(start // MILLISECOND), "limit": str(rows)}
    return query


def _broken(rows: list[Any], fault: Fault | None) -> list[Any]:
    match fault:
        case ShortPage(most):
            return rows[:most]
        case Altered(change):
            return change(rows) if rows else rows
    return rows


def _json(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    from aiohttp import web

    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def _error(status: int, error: tuple[int, str], retry_after: float | None = None) -> web.Response:
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    return _json(json.dumps({"code": error[0], "msg": error[1]}).encode(), status, headers)
