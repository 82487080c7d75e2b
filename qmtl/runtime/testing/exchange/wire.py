"""How the exchange writes and reads: Binance's parameters, rows and error codes."""

from __future__ import annotations

from typing import Any

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import Timeframe
from qmtl.foundation.times import LATEST
from qmtl.runtime.testing.exchange.market import MILLISECOND, Bars, Trade

_DEFAULT_LIMIT, _MAX_LIMIT = 500, 1000

# What the exchange calls its errors: code, message.
BAD_SYMBOL = (-1121, "Invalid symbol.")
BAD_INTERVAL = (-1120, "Invalid interval.")
BAD_PARAMETER = (-1100, "Illegal characters found in a parameter.")
TOO_MANY = (-1003, "Too many requests; current limit is exceeded.")
INTERNAL = (-1000, "An unknown error occurred while processing the request.")


class Refused(Exception):
    """The exchange refuses a request with status 400."""

    def __init__(self, error: tuple[int, str]) -> None:
        super().__init__(error[1])
        self.error = error


def time_of(query: dict[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not text.isdecimal():
        raise Refused(BAD_PARAMETER)
    return min(int(text), LATEST // MILLISECOND - 1)


def limit_of(query: dict[str, str]) -> int:
    limit = time_of(query, "limit")
    return _DEFAULT_LIMIT if limit is None else max(1, min(limit, _MAX_LIMIT))


def timeframe_of(query: dict[str, str]) -> Timeframe:
    try:
        return Timeframe.parse(query.get("interval", ""))
    except InvalidRequestError:
        raise Refused(BAD_INTERVAL) from None


def klines(bars: Bars, timeframe: Timeframe) -> list[Any]:
    rows = zip(*(column.tolist() for column in bars), strict=True)
    length = timeframe.step // MILLISECOND
    return [
        [
            ts // MILLISECOND,
            _price(open_),
            _price(high),
            _price(low),
            _price(close),
            _quantity(volume),
            ts // MILLISECOND + length - 1,
            "0.00000000",
            0,
            "0.00000000",
            "0.00000000",
            "0",
        ]
        for ts, open_, high, low, close, volume in rows
    ]


def _price(hundredths: int) -> str:
    return f"{hundredths // 100}.{hundredths % 100:02d}000000"


def _quantity(thousandths: int) -> str:
    return f"{thousandths // 1000}.{thousandths % 1000:03d}00000"


def agg_trade(trade: Trade) -> dict[str, Any]:
    return {
        "a": trade.id,
        "p": _price(trade.price),
        "q": _quantity(trade.quantity),
        "f": trade.id,
        "l": trade.id,
        "T": trade.ts // MILLISECOND,
        "m": trade.id % 2 == 0,
        "M": True,
    }


def trade_row(trade: Trade) -> dict[str, Any]:
    return {
        "id": trade.id,
        "price": _price(trade.price),
        "qty": _quantity(trade.quantity),
        "quoteQty": f"{trade.price * trade.quantity / 100_000:.8f}",
        "time": trade.ts // MILLISECOND,
        "isBuyerMaker": trade.id % 2 == 0,
        "isBestMatch": True,
    }


def listing(symbol: str) -> dict[str, Any]:
    base, quote = symbol.split("/")
    return {
        "symbol": f"{base}{quote}",
        "status": "TRADING",
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "permissions": ["SPOT"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "10000000", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "100000", "stepSize": "0.001"},
        ],
    }
