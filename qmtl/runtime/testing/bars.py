"""Synthetic bars: reproducible for ever, for any series and any range."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

from qmtl.foundation.frames import bars, empty_bars
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Int64Array, Span
from qmtl.foundation.times import MINUTE

_FloatArray = npt.NDArray[np.float64]

# The walk is Lévy's: knots 2**_LEVELS ticks apart (four years of minutes) are drawn by themselves, and each
# midpoint is displaced by a draw of its own. So any stretch can be computed without what comes before it.
_LEVELS = 21
_ROOT_DEVIATION = 500.0  # in deviations of one tick
_MINUTE_DEVIATION = 0.0006  # of the logarithm of the price: about 43 % a year

# Longer timeframes are rolled up from ticks, this many at a time, so that memory stays bounded.
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Ticks:
    """Consecutive ticks of one walk; every value is a whole number, so sums and texts are exact.

    Row i covers tick `first + i`. Prices are in hundredths, volume in thousandths; int64 arrays.
    """

    first: int
    open: Int64Array
    high: Int64Array
    low: Int64Array
    close: Int64Array
    volume: Int64Array


def synthetic_bars(
    series: SeriesId | str, span: Span, *, seed: int = 0, grid: Grid | None = None
) -> pl.DataFrame:
    """The bars of a made-up market that open within `span`, as BAR_SCHEMA: sorted, unique, none missing.

    A row depends on `seed`, the symbol and its own place in time alone: any sub-range holds the same rows,
    and bars of a longer timeframe are exactly the roll-up of the minutes within. (Bars shorter than a minute
    are a market of their own.) Prices have two decimals, volumes three. With a `grid`, only the bars that it
    expects.
    """
    series = SeriesId.parse(series) if isinstance(series, str) else series
    tick = min(series.timeframe.step, MINUTE)
    grid = grid or Grid(series.timeframe)
    stamps = grid.stamps(_expected(grid, span))
    if len(stamps) == 0:
        return empty_bars()
    ends = stamps + grid.step if grid.is_uniform else np.array([grid.after(ts) for ts in stamps.tolist()])
    per_block = max(1, _BLOCK * tick // grid.step)
    parts = [
        _rolled_up(stamps[i : i + per_block], ends[i : i + per_block], tick, series.symbol, seed)
        for i in range(0, len(stamps), per_block)
    ]
    return parts[0] if len(parts) == 1 else pl.concat(parts, rechunk=True)


def _expected(grid: Grid, span: Span) -> Coverage:
    aligned = grid.align(span)
    return Coverage.of(aligned) if grid.is_always_open else grid.expected(aligned)


def _rolled_up(stamps: Int64Array, ends: Int64Array, tick: int, symbol: str, seed: int) -> pl.DataFrame:
    first = int(stamps[0]) // tick
    found = ticks(symbol, first, -(-int(ends[-1]) // tick) - first, seed=seed, step=tick)
    begins = stamps // tick - first
    if bool((ends - stamps == tick).all()):
        picked = [column[begins] for column in (found.open, found.high, found.low, found.close, found.volume)]
    else:
        stops = ends // tick - first
        # `reduceat` reduces between neighbouring indices; every other result is a bar, the rest lies between.
        # A stop at the very end has no neighbour to reduce to, hence one tick more.
        edges = np.stack([begins, stops], axis=1).reshape(-1)
        picked = [
            found.open[begins],
            np.maximum.reduceat(np.append(found.high, 0), edges)[::2],
            np.minimum.reduceat(np.append(found.low, 0), edges)[::2],
            found.close[stops - 1],
            np.add.reduceat(np.append(found.volume, 0), edges)[::2],
        ]
    values = [column / 100.0 for column in picked[:4]] + [picked[4] / 1000.0]
    return bars(stamps, dict(zip(("open", "high", "low", "close", "volume"), values, strict=True)))


def ticks(symbol: str, first: int, count: int, *, seed: int = 0, step: int = MINUTE) -> Ticks:
    """`count` ticks of the walk of `symbol`, each `step` nanoseconds long; tick 0 opens at 1970-01-01."""
    key = _key(symbol, seed)
    deviation = _MINUTE_DEVIATION * (step / MINUTE) ** 0.5
    edges = np.rint(100.0 * _base(key) * np.exp(deviation * _walk(key, first, count + 1))).astype(np.int64)
    opens, closes = edges[:-1], edges[1:]
    draws = _hashed(key ^ _SALT_WICK, np.arange(first, first + count))
    # Each wick is a uniform draw of up to one tick's deviation, in hundredths.
    reach = opens * deviation
    up = (_low_half(draws) * reach).astype(np.int64)
    down = (_high_half(draws) * reach).astype(np.int64)
    lows = np.maximum(np.minimum(opens, closes) - down, 1)
    volume = np.rint(1000.0 * np.exp(0.8 * _normal(key ^ _SALT_VOLUME, np.arange(first, first + count))))
    return Ticks(first, opens, np.maximum(opens, closes) + up, lows, closes, volume.astype(np.int64) + 4)


def _walk(key: int, first: int, count: int) -> _FloatArray:
    """The walk at `count` consecutive ticks, in deviations of one tick."""
    last = first + count - 1
    low = first >> _LEVELS
    values = _ROOT_DEVIATION * _normal(key, np.arange(low, (last >> _LEVELS) + 2))
    for level in reversed(range(_LEVELS)):
        finer = np.empty(2 * len(values) - 1)
        finer[0::2] = values
        # The places of midpoints are odd at their level, and the level makes equal numbers differ.
        places = np.arange(2 * low + 1, 2 * low + len(finer), 2)
        deviation = 2.0 ** ((level - 1) / 2)
        finer[1::2] = (values[:-1] + values[1:]) / 2 + deviation * _normal(key + level + 1, places)
        cut = (first >> level) - 2 * low
        low = first >> level
        values = finer[cut : cut + (last >> level) + 2 - low]
    return values[:count]


# Salts: arbitrary, so that price, wick and volume are drawn apart.
_SALT_WICK = 0x5BF0_3635_D1F3_7A11
_SALT_VOLUME = 0x2545_F491_4F6C_DD1D
_MASK = (1 << 64) - 1


@lru_cache(maxsize=1024)
def _key(symbol: str, seed: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{symbol}".encode(), digest_size=8).digest(), "little")


def _base(key: int) -> float:
    """The price that a symbol wanders around: 100 to 30,000."""
    return float(10.0 ** (2.0 + 2.477 * (key / 2.0**64)))


def _hashed(key: int, places: Int64Array) -> npt.NDArray[np.uint64]:
    """64 random-looking bits for each place: the finaliser of SplitMix64."""
    z = places.astype(np.uint64)
    z *= np.uint64(0x9E37_79B9_7F4A_7C15)
    z += np.uint64((key * 0xD134_2543_DE82_EF95) & _MASK)
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58_476D_1CE4_E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D0_49BB_1331_11EB)
    z ^= z >> np.uint64(31)
    return z


def _low_half(draws: npt.NDArray[np.uint64]) -> _FloatArray:
    return (draws & np.uint64(0xFFFF_FFFF)) / 2.0**32


def _high_half(draws: npt.NDArray[np.uint64]) -> _FloatArray:
    return (draws >> np.uint64(32)) / 2.0**32


def _normal(key: int, places: Int64Array) -> _FloatArray:
    """Draws of mean 0 and deviation 1, at most 2.45 from it: two uniform ones added."""
    draws = _hashed(key, places)
    normal: _FloatArray = (_low_half(draws) + _high_half(draws) - 1.0) * 6.0**0.5
    return normal
