"""What a series is called: node ids and timeframes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.times import DAY, HOUR, MINUTE, SECOND, WEEK

_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": WEEK}
_TIMEFRAME = re.compile(r"([1-9][0-9]{0,4})([smhdw])")
_FIELD = re.compile(r"[A-Za-z0-9_.-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

# 1970-01-01 was a Thursday; weeks are stamped on Mondays.
_FIRST_MONDAY = 4 * DAY


@dataclass(frozen=True, slots=True)
class Timeframe:
    """How long a bar lasts: `<n>s|m|h` that divides a day, `1d` or `1w`. Case-sensitive.

    `step` is its length in nanoseconds. Bars open at `origin + k * step`: UTC midnight is a bar of every
    timeframe below a week, and a week opens on Monday 00:00 UTC.
    """

    text: str
    step: int
    origin: int = 0

    @staticmethod
    @lru_cache(maxsize=256)
    def parse(text: str) -> Timeframe:
        """The timeframe of a text such as "1m". Raises `InvalidRequestError`."""
        match = _TIMEFRAME.fullmatch(text)
        if match:
            count, unit = int(match[1]), match[2]
            step = count * _UNITS[unit]
            if text == "1w":
                return Timeframe(text, step, _FIRST_MONDAY)
            if text == "1d" or (unit in "smh" and step < DAY and DAY % step == 0):
                return Timeframe(text, step)
        raise InvalidRequestError(
            f"timeframe {text!r} is not known",
            why="a timeframe is <n>s, <n>m or <n>h that divides a day, 1d or 1w; capitals matter",
            next_step="use for example 1s 1m 5m 15m 1h 4h 1d 1w",
        )

    @property
    def is_intraday(self) -> bool:
        return self.step < DAY

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, eq=False)
class SeriesId:
    """A node id: `ohlcv:{venue}:{symbol}:{timeframe}`; the symbol may hold colons (`BTC/USDT:USDT`)."""

    kind: str
    venue: str
    symbol: str
    timeframe: Timeframe
    text: str

    @staticmethod
    @lru_cache(maxsize=4096)
    def parse(text: str) -> SeriesId:
        """The series of a node id. Raises `InvalidRequestError` that says which field is wrong."""
        fields = text.split(":")
        if len(fields) < 4:
            raise _bad_id(text, "it has fewer than four fields")
        kind, venue, timeframe = fields[0], fields[1], fields[-1]
        symbol = ":".join(fields[2:-1])
        if kind != "ohlcv":
            raise _bad_id(text, f"the kind {kind!r} is not known; this release serves bars, kind 'ohlcv'")
        if not _FIELD.fullmatch(venue):
            raise _bad_id(text, f"the venue {venue!r} may hold letters, digits, '_', '.' and '-' only")
        try:
            size = len(symbol.encode())
        except UnicodeEncodeError:  # bytes of a command line that are no text arrive as lone surrogates
            raise _bad_id(text, f"the symbol {symbol!r} is not text that UTF-8 can write") from None
        if not symbol or symbol != symbol.strip() or _CONTROL.search(symbol) or size > 200:
            raise _bad_id(
                text, f"the symbol {symbol!r} is empty, padded, over 200 bytes or holds control characters"
            )
        return SeriesId(kind, venue, symbol, Timeframe.parse(timeframe), text)

    # The text says it all, and its hash is kept by Python: a cache looks it up on each fetch.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, SeriesId) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    @property
    def encoded_symbol(self) -> str:
        """The symbol as one path segment: percent-encoded, so that it can never leave its folder."""
        encoded = quote(self.symbol, safe="")
        return encoded if encoded.strip(".") else encoded.replace(".", "%2E")

    @property
    def address(self) -> str:
        """`qmtl://observability/seamless/<node>`: where the newest report of this series is found."""
        return f"{_ADDRESS}{quote(self.text, safe='')}"

    @staticmethod
    def from_address(address: str) -> SeriesId:
        """The series of an address that `address` gave. Raises `InvalidRequestError`."""
        if not address.startswith(_ADDRESS):
            raise InvalidRequestError(
                f"{address!r} is not a report address", next_step=f"it looks like {_ADDRESS}<node>"
            )
        return SeriesId.parse(unquote(address.removeprefix(_ADDRESS)))

    def __str__(self) -> str:
        return self.text


_ADDRESS = "qmtl://observability/seamless/"


def _bad_id(text: str, why: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{text!r} is not a node id",
        why=why,
        next_step="write ohlcv:VENUE:SYMBOL:TIMEFRAME, for example ohlcv:binance:BTC/USDT:1m",
    )
