"""Common aggregates of all windows of a column at once, each as polars gives it for that window alone.

To the last bit: numbers are added in the order in which polars adds them. Up to 127 one after the other; of
more, blocks of 128 from the end, each as sixteen sums that are added in pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
Kernel = Callable[[Float64Array, int], Float64Array]

# Windows that are added up together: a few arrays of them stay in the cache of a core.
_AT_ONCE = 4_096
_BLOCK, _STRIPES = 128, 16


def sums(values: Float64Array, width: int) -> Float64Array:
    """The sum of each window of `width` values, in order."""
    found = np.empty(len(values) - width + 1)
    for first in range(0, len(found), _AT_ONCE):
        part = values[first : first + _AT_ONCE + width - 1]
        found[first : first + _AT_ONCE] = _sums(part, width)
    return found


def means(values: Float64Array, width: int) -> Float64Array:
    found = sums(values, width)
    found /= width
    return found


def lows(values: Float64Array, width: int) -> Float64Array:
    return _widened(np.minimum, values, width)


def highs(values: Float64Array, width: int) -> Float64Array:
    return _widened(np.maximum, values, width)


def firsts(values: Float64Array, width: int) -> Float64Array:
    return values[: len(values) - width + 1]


def lasts(values: Float64Array, width: int) -> Float64Array:
    return values[width - 1 :]


# By the name that polars writes.
KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {"Sum": sums, "Mean": means, "Min": lows, "Max": highs, "First": firsts, "Last": lasts}
)


def can_take(values: Float64Array) -> bool:
    """Whether these values have no case in which the order of operations says more than their sum.

    That is infinity and NaN, and a zero below zero.
    """
    return bool(np.isfinite(values).all()) and not bool((np.signbit(values) & (values == 0.0)).any())


def _sums(values: Float64Array, width: int) -> Float64Array:
    count, rest = len(values) - width + 1, width % _BLOCK
    found = values[:count].copy() if rest else np.zeros(count)
    for place in range(1, rest):
        found += values[place : place + count]
    if width >= _BLOCK:
        found = _of_blocks(_block_sums(values[rest:]), width // _BLOCK)[:count] + found
    return found


def _block_sums(values: Float64Array) -> Float64Array:
    """The sum of the block that begins at each value."""
    count = len(values) - _BLOCK + _STRIPES
    found = values[:count].copy()
    for place in range(_STRIPES, _BLOCK, _STRIPES):
        found += values[place : place + count]
    for half in (8, 4, 2, 1):
        found = found[:-half] + found[half:]
    return found


def _of_blocks(sums: Float64Array, blocks: int) -> Float64Array:
    """The sum of so many blocks, one behind the other, that begin at each value."""

    @cache
    def of(blocks: int) -> Float64Array:
        if blocks == 1:
            return sums
        left = of(blocks // 2)
        right = of(blocks - blocks // 2)[blocks // 2 * _BLOCK :]
        return left[: len(right)] + right

    return of(blocks)


def _widened(pick: Callable[..., Float64Array], values: Float64Array, width: int) -> Float64Array:
    """Of windows twice as long each time, and in the end of two that overlap."""
    found, reach = values, 1
    while reach * 2 <= width:
        found, reach = pick(found[:-reach], found[reach:]), reach * 2
    more = width - reach
    return pick(found[: len(found) - more], found[more:]) if more else found


class Aggregate(NamedTuple):
    """One number of a window: the aggregate `kind` of the first or the last `rows` rows of a column.

    rows: None for all of them.
    """

    kind: str
    column: str
    rows: int | None
    of_end: bool

    def over(self, values: Float64Array, width: int, count: int) -> Float64Array:
        """For the last `count` windows of `width` values; there are so many or more."""
        values = values[len(values) - count - width + 1 :]
        rows = width if self.rows is None else min(self.rows, width)
        found = KERNELS[self.kind](values, rows)
        return found[width - rows :] if self.of_end else found[:count]
