"""The moments at which bars of several series close, one after the other."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import NamedTuple

import numpy as np

from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY


class Moment(NamedTuple):
    """At `at` (int ns UTC) these cells end, by series."""

    at: int
    cells: Mapping[SeriesId, Span]


def moments(grids: Mapping[SeriesId, Grid], start: int, end: int) -> Iterator[Moment]:
    """Of all cells that are expected and begin within `[start, end)`, in order of their ends."""
    streams = [_cells(grid, place, series, start, end) for place, (series, grid) in enumerate(grids.items())]
    for at, ended in groupby(heapq.merge(*streams), key=lambda one: one[0]):
        yield Moment(at, {series: cell for _, _, cell, series in ended})


def _cells(
    grid: Grid, place: int, series: SeriesId, start: int, end: int
) -> Iterator[tuple[int, int, Span, SeriesId]]:
    first = start
    while first < end:
        # A day at a time, and never past the end: nobody has to know a calendar until the end of time.
        looked = grid.align(Span(first, min(end, first + max(DAY, 2 * grid.step))))
        stamps = grid.stamps(grid.expected(looked))
        ends = grid.ends(stamps) if len(stamps) else np.zeros(0, dtype=np.int64)
        for ts, at in zip(stamps.tolist(), ends.tolist(), strict=True):
            if max(first, start) <= ts < end:
                yield at, place, Span(ts, at), series
        first = max(looked.end, first + 1)
