"""What may grow: of a fetch of 1,000 bars, nothing but the answer itself faster than the logarithm."""

from __future__ import annotations

from collections.abc import Mapping
from math import log10

from benchmarks.growth.measuring import FETCH, Cost, Costs

# How much more a piece of work may take for each ten times as much in the store. Steps and calls: a share of
# what it took first. Pages: so many more, for the trees that it looks into become deeper now and then.
MORE_STEPS, MORE_CALLS, MORE_PAGES = 0.25, 0.25, 8
# And always so many steps: where a small store has no chunk behind the range, a large one has a row more to
# look at, once.
FEW_STEPS = 50


def grown_too_fast(rungs: Mapping[int, Costs], work: str = FETCH) -> list[str]:
    """For each count that grew faster than allowed from the smallest rung to the largest, a sentence."""
    small, large = min(rungs), max(rungs)
    first, last = rungs[small].of[work], rungs[large].of[work]
    tens = log10(large / small)
    return [
        f"{work}: {name} grew from {getattr(first, name):,} to {getattr(last, name):,}, more than "
        f"{more:,.0f} for each ten times as much, from {small:,} to {large:,}"
        for name, more in _allowed(first).items()
        if getattr(last, name) > getattr(first, name) + more * tens
    ]


def _allowed(first: Cost) -> dict[str, float]:
    return {
        "steps": max(FEW_STEPS, MORE_STEPS * first.steps),
        "calls": MORE_CALLS * first.calls,
        "pages": MORE_PAGES,
    }
