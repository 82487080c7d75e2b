"""The ranges to ask a vendor for: as few as possible, and none for bars that are known."""

from __future__ import annotations

import numpy as np

from qmtl.foundation.grid import Grid
from qmtl.foundation.timeline import Coverage

# A page of an exchange has a hundred bars or more: so many known ones cost no question of their own.
BRIDGE_STEPS = 100


def questions(missing: Coverage, refused: Coverage, grid: Grid) -> Coverage:
    """`runs` of what is missing, with those joined that hold `refused` bars and lie near each other.

    Impossible rows come one by one, so that refused bars may lie anywhere: asking for the known bars between
    them is cheaper than a question for each. What is known is not committed again.
    """
    found = runs(missing, grid)
    # Each refused bar is missing, and so lies in one of the runs.
    near = np.unique(np.searchsorted(found.starts, refused.starts, "right") - 1)
    starts, ends = found.ends[near[:-1]], found.starts[near[1:]]
    narrow = ends - starts <= BRIDGE_STEPS * grid.step
    return found | Coverage.from_arrays(starts[narrow], ends[narrow])


def runs(missing: Coverage, grid: Grid) -> Coverage:
    """Missing cells, joined where only closed cells lie between them.

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
