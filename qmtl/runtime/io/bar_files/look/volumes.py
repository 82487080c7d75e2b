"""Which columns of numbers may be a volume, where no name tells, and which names are those of quotes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from qmtl.runtime.io.bar_files.look.layout import Layout
from qmtl.runtime.io.bar_files.look.names import plain
from qmtl.runtime.io.bar_files.look.values import is_nothing, is_numeric, number_of

# Words in the names of columns that stand beside prices of a quote, not among those of a bar.
_QUOTES = ("bid ask bids asks volume vol qty quantity size amount strike",)
# Words in the names of volumes, which a count of something else does not bear: the number of shares.
_VOLUMES = frozenset({"volume", "vol", "shares", "quantity", "qty", "contracts", "lots"})
_COUNTS = frozenset({"number", "no", "count"})
# Words in the names of numbers that are no volume.
_OTHER_NUMBERS = (
    "adj adjusted price close open high low bid ask previous prev value money turnover cap marketcap",
    "change chg pct percent return yield delay offset factor factr",
    "vwap wap average avg mean ma ema sma rsi atr macd upper lower volatility spread",
    "interest oi dividend dividends div split splits deliverable deliv dly",
    "trades count numtrades transactions ntrades id index no number seq sequence ignore unknown flag",
    "date time timestamp ts epoch year month day hour minute second weekday",
)


def is_quote(name: str) -> bool:
    return bool(_words(name) & set(" ".join(_QUOTES).split()))


def possible_volumes(
    layout: Layout, taken: Collection[int], low: int | None, high: int | None
) -> Iterator[int]:
    """Columns beside those that are taken whose numbers may count what was traded.

    low, high: columns of the lowest and the highest price, if they are known.
    """
    others = set(" ".join(_OTHER_NUMBERS).split())
    for place in range(layout.width):
        cells = [text for text in layout.column(place) if not is_nothing(text)]
        if (
            place in taken
            or not cells
            or not all(map(is_numeric, cells))
            or _others_in(layout.names[place], others)
        ):
            continue
        values = [number_of(text, {}) for text in layout.column(place)]
        if any(value is not None and value < 0 for value in values) or any("%" in text for text in cells):
            continue
        if low is None or high is None or not _is_price(values, layout.column(low), layout.column(high)):
            yield place


def _others_in(name: str, others: set[str]) -> set[str]:
    """Words in a name that say it is no volume."""
    words = _words(name)
    return words & (others - _COUNTS if words & _VOLUMES else others)


def names_a_volume(name: str) -> bool:
    """Whether a name has a word for a volume among others: `Total Shares Dealt`."""
    return bool(_words(name) & _VOLUMES)


def is_average(layout: Layout, place: int, low: int, high: int) -> bool:
    """Whether no value leaves its bar, as prices weighted by volume do not."""
    columns = ([number_of(text, {}) for text in layout.column(one)] for one in (place, low, high))
    rows = [
        (value, least, most)
        for value, least, most in zip(*columns, strict=True)
        if value is not None and least is not None and most is not None
    ]
    varies = len({value for value, _, _ in rows}) > 1
    return varies and all(least <= value <= most for value, least, most in rows)


def _words(name: str) -> set[str]:
    return set(re.split(r"[_.%()/ ]+", plain(name)))


def _is_price(values: Sequence[float | None], lows: Sequence[str], highs: Sequence[str]) -> bool:
    """Whether all values lie near their bars, as averages and prices of settlement do."""
    rows = [
        (value, low, high)
        for value, low, high in zip(
            values, (number_of(t, {}) for t in lows), (number_of(t, {}) for t in highs), strict=True
        )
        if value is not None and low is not None and high is not None
    ]
    return bool(rows) and all(low / 2 <= value <= high * 2 for value, low, high in rows)
