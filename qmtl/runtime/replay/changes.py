"""What becomes known of bars behind their turn: corrections, late bars, bars taken back, and gaps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from qmtl.foundation.frames import VALUES, bars
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.runtime.replay.bars import Bar, Gap, Revision

# Open, high, low, close and volume.
Values = tuple[float, float, float, float, float | None]


class Change(NamedTuple):
    """From `at` on (int ns UTC) a bar that opened at `ts` is `new`, and no longer `old`; None: not known."""

    at: int
    series: SeriesId
    ts: int
    old: Values | None
    new: Values | None


class KnownGap(NamedTuple):
    """A gap, and when it is known (int ns UTC)."""

    at: int
    gap: Gap


def row_of(change: Change) -> pl.DataFrame | None:
    """The new row as a frame of bars; None where there is none."""
    if change.new is None:
        return None
    columns = dict(zip(VALUES, ([value] for value in change.new), strict=True))
    return bars(np.array([change.ts]), columns)


def revision_of(change: Change, grid: Grid) -> Revision:
    """What a strategy is told of it."""
    closed = int(grid.ends(np.array([change.ts]))[0])

    def bar(values: Values | None) -> Bar | None:
        return None if values is None else Bar(change.series, change.ts, closed, *values)

    return Revision(bar(change.old), bar(change.new), change.at)
