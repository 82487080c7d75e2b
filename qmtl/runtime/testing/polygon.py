"""A simulated Polygon: aggregates with cursor paging and New York's days, on this machine, with faults."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit
from zoneinfo import ZoneInfo

import polars as pl

from qmtl.foundation.calendars import calendar_named
from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.frames import VALUES
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId, Timeframe
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import DAY, SECOND, to_ns
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.exchange.faults import Altered, Cut, Fault, NoAnswer, ShortPage, Status
from qmtl.runtime.testing.local_server import LocalServer, half

if TYPE_CHECKING:
    from aiohttp import web

_MILLISECOND = SECOND // 1000
_NEW_YORK = ZoneInfo("America/New_York")
_UNITS = {"minute": "m", "hour": "h", "day": "d"}


class Split(NamedTuple):
    """From this session on, one share of before is `shares`; adjusted bars of before are divided by it."""

    session: str
    shares: int


class PolygonCall(NamedTuple):
    """One request that came in: its path, its parameters, whether its key was right, and what it was told."""

    path: str
    parameters: Mapping[str, str]
    authorized: bool
    status: int


class SimulatedPolygon:
    """`with SimulatedPolygon() as server: PolygonVendor(url=server.url, key=server.key)`.

    It has bars of New York's sessions (XNYS): those of `synthetic_bars` for the unadjusted series.

    tickers: those that are traded; gone: those that once were. splits: by ticker. quiet: ranges without a
    trade. page_rows: rows of a page at most, whatever is asked for. key: what a request must bear. seed:
    which walks. clock: its own time; a day has its bar from midnight on, as it forms.

    It runs in a thread of its own. All methods may be called from any thread. Needs `qmtl[testing]`.
    """

    def __init__(
        self,
        tickers: Iterable[str] = ("AAPL", "MSFT"),
        *,
        gone: Iterable[str] = (),
        splits: Mapping[str, Split] | None = None,
        quiet: Coverage = EMPTY,
        page_rows: int = 50_000,
        key: str = "key-of-the-simulation",
        seed: int = 0,
        clock: Clock | None = None,
        port: int = 0,
    ) -> None:
        self.key = key
        self._tickers, self._gone = {*tickers}, {*gone}
        self._splits = dict(splits or {})
        self._quiet = quiet
        self._page_rows = page_rows
        self._seed = seed
        self._clock = clock or SystemClock()
        self._server = LocalServer(self._handle, name="simulated-polygon", port=port)
        self._lock = threading.Lock()
        self._pending: list[Fault] = []
        self._calls: list[PolygonCall] = []

    # For tests: set faults, read what was requested.

    def fail(self, fault: Fault, *, times: int = 1) -> None:
        """The next `times` requests for aggregates meet this fault; several wait in the order given."""
        with self._lock:
            self._pending += [fault] * times

    @property
    def calls(self) -> list[PolygonCall]:
        """All requests since the start, in order."""
        with self._lock:
            return list(self._calls)

    def bars(self, series: SeriesId | str, span: Span) -> pl.DataFrame:
        """The bars that it truly has in `span`, whatever its faults: BAR_SCHEMA."""
        series = SeriesId.parse(series) if isinstance(series, str) else series
        ticker = SeriesId.parse(f"ohlcv:polygon:{series.symbol}:{series.timeframe}")
        frame = synthetic_bars(ticker, span, seed=self._seed, grid=_grid(series.timeframe))
        frame = frame.filter(~self._quiet.holds(frame["ts"].to_physical().to_numpy()))
        split = self._splits.get(series.symbol)
        if split is None or series.venue != "polygon-adjusted":
            return frame
        before = pl.col("ts").to_physical() < to_ns(split.session)
        prices = [pl.when(before).then(pl.col(n) / split.shares).otherwise(n).alias(n) for n in VALUES[:4]]
        volume = pl.when(before).then(pl.col("volume") * split.shares).otherwise("volume").alias("volume")
        return frame.with_columns(*prices, volume)

    # Running.

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, once started."""
        return self._server.url

    def start(self) -> SimulatedPolygon:
        """Begin to serve; returns when it does. OSError if the port is taken."""
        self._server.start()
        return self

    def close(self) -> None:
        """Stop serving; open connections are dropped. May be called twice."""
        self._server.close()

    def __enter__(self) -> SimulatedPolygon:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Answering.

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        authorized = request.headers.get("Authorization") == f"Bearer {self.key}"
        fault = None
        if request.path.startswith("/v2/aggs/"):
            with self._lock:
                fault = self._pending.pop(0) if self._pending else None
        if isinstance(fault, NoAnswer):
            await self._server.closing()
        status, body, headers = self._told(request, fault, authorized=authorized)
        call = PolygonCall(request.raw_path.partition("?")[0], dict(request.query), authorized, status)
        with self._lock:
            self._calls.append(call)
        text = json.dumps(body).encode()
        if isinstance(fault, Cut):
            return await half(request, text, fault.share)
        from aiohttp import web

        return web.Response(body=text, status=status, headers=headers, content_type="application/json")

    def _told(
        self, request: web.Request, fault: Fault | None, *, authorized: bool
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        if not authorized:
            return 401, _error("Unknown API Key"), {}
        if isinstance(fault, Status):
            headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
            return fault.status, _error(f"the simulation says {fault.status}"), headers
        query = dict(request.query)
        if request.path == "/v3/reference/tickers":
            known = self._tickers if query.get("active", "true") == "true" else self._gone
            found = [{"ticker": query["ticker"]}] if query.get("ticker") in known else []
            return 200, {"status": "OK", "results": found, "count": len(found)}, {}
        parts = request.raw_path.partition("?")[0].split("/")
        if len(parts) != 10 or request.path[:9] != "/v2/aggs/":
            return 404, _error("not found"), {}
        return 200, self._aggregates(request, query, fault), {}

    def _aggregates(self, request: web.Request, query: dict[str, str], fault: Fault | None) -> dict[str, Any]:
        _, _, _, _, ticker, _, multiplier, unit, first, last = request.path.split("/")
        adjusted = query.get("adjusted", "true") == "true"
        timeframe = Timeframe.parse(f"{multiplier}{_UNITS[unit]}")
        start, end = _instant(query.get("cursor", first)), _instant(last)
        now = self._clock.now()
        span = Span(start, max(start, min(end + 1, now)))
        rows: list[Any] = []
        if ticker in self._tickers | self._gone:
            venue = "polygon-adjusted" if adjusted else "polygon"
            frame = self.bars(f"ohlcv:{venue}:{ticker}:{timeframe}", span)
            rows = [
                _row(row, timeframe) for row in frame.filter(pl.col("ts").to_physical() < now).iter_rows()
            ]
        most = min(self._page_rows, int(query.get("limit", "5000")))
        page, rest = rows[:most], rows[most:]
        match fault:
            case ShortPage(count):  # it looks like the last one
                page, rest = page[:count], []
            case Altered(change):
                page = change(page)
        body: dict[str, Any] = {
            "ticker": ticker,
            "adjusted": adjusted,
            "queryCount": len(page),
            "resultsCount": len(page),
            "status": "OK",
            "results": page,
        }
        if rest:
            cursor = _iso_or_ms(rest[0]["t"], timeframe)
            address = urlsplit(f"https://api.polygon.io{request.raw_path}")
            kept = {name: values[0] for name, values in parse_qs(address.query).items()}
            body["next_url"] = address._replace(query=urlencode({**kept, "cursor": cursor})).geturl()
        return body


def _grid(timeframe: Timeframe) -> Grid:
    return Grid(timeframe, calendar_named("XNYS"))


def _error(text: str) -> dict[str, Any]:
    return {"status": "ERROR", "error": text}


def _instant(text: str) -> int:
    """A date as UTC midnight, or milliseconds: for days the stamps of this package, and no zone."""
    return int(text) * _MILLISECOND if text.isdecimal() and len(text) > 8 else to_ns(text)


def _iso_or_ms(stamp: int, timeframe: Timeframe) -> str:
    """Where the next page begins, as `_instant` reads it."""
    if timeframe.step < DAY:
        return str(stamp)
    local = pl.Series([stamp]).cast(pl.Datetime("ms", "UTC")).dt.convert_time_zone("America/New_York")
    return str(local.dt.date()[0].isoformat())


def _row(row: tuple[Any, ...], timeframe: Timeframe) -> dict[str, Any]:
    moment, *values = row
    if timeframe.step >= DAY:  # New York's midnight of the same date
        moment = moment.replace(tzinfo=_NEW_YORK)
    opened, high, low, close, volume = values
    return {
        "t": round(moment.timestamp() * 1000),
        "o": opened,
        "h": high,
        "l": low,
        "c": close,
        "v": volume,
        "vw": close,
        "n": 1,
    }
