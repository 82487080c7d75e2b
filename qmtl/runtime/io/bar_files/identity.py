"""Which columns identify the instrument of a row, so that several series are never taken for one.

The names are those that exports of exchanges, brokers and data vendors use for what a row is *of*; a column
of texts with few values is taken for one too, whatever its name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from qmtl.foundation.series import SeriesId, Timeframe

SYMBOL_NAMES = frozenset(
    [
        "symbol",
        "ticker",
        "sym",
        "instrument",
        "security",
        "asset",
        "pair",
        "contract",
        "name",
        "isin",
        "cusip",
        "figi",
        "sedol",
        "ric",
        "permno",
        "product",
        "coin",
        "market_pair",
        "trading_pair",
        "raw_symbol",
        "stock",
        "code",
        "secid",
    ]
)
TIMEFRAME_NAMES = frozenset(
    [
        "timeframe",
        "interval",
        "period",
        "per",
        "resolution",
        "freq",
        "frequency",
        "bar_size",
        "barsize",
        "granularity",
        "tf",
    ]
)
OTHER_NAMES = frozenset(
    [
        "publisher",
        "exchange",
        "exch",
        "venue",
        "market",
        "mkt",
        "dataset",
        "source",
        "side",
        "adjusted",
        "adjustment",
        "adj",
        "currency",
        "ccy",
        "underlying",
        "rtype",
        "session",
        "conid",
        "gvkey",
        "expiry",
        "expiration",
        "strike",
        "right",
        "provider",
        "feed",
        "series",
        "country",
    ]
)
IDENTITY_NAMES = SYMBOL_NAMES | TIMEFRAME_NAMES | OTHER_NAMES

# A text column with more values than this, or fewer than two rows for each, is a remark, not an identity.
MAX_VALUES = 1_000

_TIME_WORDS = ("date", "time", "day", "timestamp")
_SUFFIX = re.compile(r"_(?:id|code|name|no|number)$")
_NUMBER = re.compile(r"[($€£¥+-]*[\d.,' ]*\d[\d.,' ]*(?:[eE][+-]?\d+)?[ KMBTkmbt%)]*")
_TIME = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\b.*|\d{1,2}:\d{2}.*")
_NO_VALUE = frozenset({"", "nan", "null", "none", "n/a", "na", "-", "true", "false", "yes", "no", "t", "f"})


def plain_name(column: str) -> str:
    """A column's name without case, brackets, and kinds of blanks."""
    return re.sub(r"[\s\-.]+", "_", column.strip().strip("<>[]\"'").strip().lower())


def is_identity_name(column: str) -> bool:
    """Whether columns of this name say what a row is of: `ticker`, `instrument_id`, `<PER>`, `Bar Size`."""
    name = plain_name(column)
    return name in IDENTITY_NAMES or _SUFFIX.sub("", name) in IDENTITY_NAMES


def identifies_series(column: str, values: Sequence[str], rows: int) -> bool:
    """Whether a column with these distinct values, over so many rows, distinguishes several series.

    values: distinct, as text. By its name a column does as soon as it has two values, whatever they are; any
    other does if its values are words (no numbers, times, or yes and no), few, and repeated.
    """
    stated = [value for value in values if value.strip().lower() not in _NO_VALUE]
    if is_identity_name(column):
        return len({value.strip() for value in values if value.strip()}) > 1
    if any(word in plain_name(column).split("_") for word in _TIME_WORDS):
        return False
    if any(_NUMBER.fullmatch(value.strip()) or _TIME.fullmatch(value.strip()) for value in stated):
        return False
    return 1 < len(stated) <= MAX_VALUES and 2 * len(stated) <= rows


def contradicts(column: str, value: str, series: SeriesId) -> bool:
    """Whether the one value of a column says that the rows are of another series.

    Only symbols and timeframes are compared; a symbol agrees if either name holds the other, letters and
    digits alone (AAPL.US and AAPL, BTCUSDT and BTC/USDT).
    """
    name = plain_name(column)
    stem = _SUFFIX.sub("", name)
    value = value.strip()
    if not value:
        return False
    if name in SYMBOL_NAMES or stem in SYMBOL_NAMES:
        theirs, ours = _letters(value), _letters(series.symbol)
        if " " in value or name.endswith(("_id", "_no", "_number")) or not re.search(r"[A-Z]", theirs):
            return False  # the name of a company, or a number of the vendor's own
        return bool(theirs) and theirs not in ours and ours not in theirs
    if stem in TIMEFRAME_NAMES:
        lengths = _timeframes(value)
        return bool(lengths) and series.timeframe not in lengths
    return False


def _letters(text: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", text.upper())


_WORDS = {
    **dict.fromkeys(("d", "day", "daily"), "1d"),
    **dict.fromkeys(("w", "week", "weekly"), "1w"),
    **dict.fromkeys(("h", "hour", "hourly"), "1h"),
    **dict.fromkeys(("min", "minute"), "1m"),
}
_LENGTH = re.compile(r"(\d{1,5})\s*(?:(s|m|h|d|w)\w*)?|([mhdw])(\d{1,4})")


def _timeframes(value: str) -> set[Timeframe]:
    """All that a text may mean as a timeframe; a bare number counts minutes or seconds."""
    text = value.lower()
    if text in _WORDS:
        return {Timeframe.parse(_WORDS[text])}
    match = _LENGTH.fullmatch(text)
    if match is None or "month" in text:
        return set()
    count, unit = int(match[1] or match[4]), match[2] or match[3]
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
    lengths = [count * seconds[unit]] if unit else [count * 60, count]
    return {found for length in lengths if (found := _timeframe_of(length)) is not None}


def _timeframe_of(seconds: int) -> Timeframe | None:
    for size, unit in ((604_800, "w"), (86_400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        if seconds and seconds % size == 0:
            if unit in "wd" and seconds != size:
                return None
            return Timeframe.parse(f"{seconds // size}{unit}") if 86_400 % min(seconds, 86_400) == 0 else None
    return None
