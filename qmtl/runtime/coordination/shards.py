"""How backfill work is cut: shards on a fixed grid, so that requests which overlap claim the same ones."""

from __future__ import annotations

import numpy as np

from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import EARLIEST, LATEST


def shard_numbers(cells: Coverage, width: int) -> list[int]:
    """The shards that `cells` touch, ascending. Shard k is `[k, k + 1) * width` (ns) from the epoch."""
    if not cells:
        return []
    firsts, lasts = cells.starts // width, (cells.ends - 1) // width
    return sorted({k for a, b in zip(firsts.tolist(), lasts.tolist(), strict=True) for k in range(a, b + 1)})


def shard_span(number: int, width: int) -> Span:
    """The time that a shard covers."""
    return Span(number * width, (number + 1) * width)


def shards_coverage(numbers: list[int], width: int) -> Coverage:
    """The time that several shards cover."""
    # Cut to what int64 can hold: the first and the last shard reach beyond.
    starts = np.array([max(number * width, EARLIEST) for number in numbers], dtype=np.int64)
    ends = np.array([min((number + 1) * width, LATEST) for number in numbers], dtype=np.int64)
    return Coverage.from_arrays(starts, ends)
