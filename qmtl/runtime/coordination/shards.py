"""How backfill work is cut: shards on a fixed grid to be claimed, runs of missing bars to be asked for."""

from __future__ import annotations

import numpy as np

from qmtl.foundation.grid import Grid
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
    # Cut to what int64 can tell: the first and the last shard reach beyond.
    starts = np.array([max(number * width, EARLIEST) for number in numbers], dtype=np.int64)
    ends = np.array([min((number + 1) * width, LATEST) for number in numbers], dtype=np.int64)
    return Coverage.from_arrays(starts, ends)


# A page of an exchange has a hundred bars or more: so many known ones cost no question of their own.
BRIDGE_STEPS = 100


def questions(missing: Coverage, refused: Coverage, grid: Grid) -> Coverage:
    """`runs` of what is missing, with those joined that hold `refused` bars and lie near each other.

    Refused bars are spoilt one by one, so that they may lie anywhere: asking for what is known between them
    is cheaper than a question for each. What is known is not committed again.
    """
    found = runs(missing, grid)
    # Each refused bar is missing, and so lies in one of the runs.
    near = np.unique(np.searchsorted(found.starts, refused.starts, "right") - 1)
    starts, ends = found.ends[near[:-1]], found.starts[near[1:]]
    narrow = ends - starts <= BRIDGE_STEPS * grid.step
    return found | Coverage.from_arrays(starts[narrow], ends[narrow])


def runs(missing: Coverage, grid: Grid) -> Coverage:
    """The ranges to ask a vendor for: missing cells, joined where only closed cells lie between them.

    Nights and weekends do not cut a question in two, since a vendor has nothing to say about them.
    """
    if not missing or grid.is_always_open or len(missing) == 1:
        return missing
    hull = missing.hull
    known_open = grid.expected(hull) - missing
    joined = Coverage.of(hull) - known_open
    # A joined range may hold no missing cell at all, or begin and end with closed ones: cut it to what
    # is missing.
    first = np.searchsorted(missing.starts, joined.starts, "left")
    last = np.searchsorted(missing.ends, joined.ends, "right") - 1
    keep = first <= last
    return Coverage.from_arrays(missing.starts[first[keep]], missing.ends[last[keep]])
