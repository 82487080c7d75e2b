"""Run a strategy over history, bar by bar."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks import scene
from benchmarks.figures import Figure
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import take_turns
from qmtl.foundation.grid import Grid
from qmtl.runtime.replay.bars import Bar
from qmtl.runtime.replay.orders import FillModel
from qmtl.runtime.replay.portfolio import Portfolio
from qmtl.runtime.replay.readers import Reader
from qmtl.runtime.replay.run import Part, Run
from qmtl.runtime.replay.weights import Weights

_FAST, _SLOW = 20, 50
_STRETCH = 100_000
_CLOSE = pl.col("close")
_EXPRESSIONS = {"fast": _CLOSE.tail(_FAST).mean(), "slow": _CLOSE.mean()}
_TARGET = pl.when(pl.col("fast") > pl.col("slow")).then(1.0).otherwise(0.0)
_FUNCTIONS = {
    "fast": lambda window: window["close"].tail(_FAST).mean(),
    "slow": lambda window: window["close"].mean(),
}


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """A crossing of two means over a year of minutes that are in memory, with fills and equity.

    The floor is a loop of Python over the same bars that compares two lists of means; of the vector path,
    running means of numpy and their comparison. Both leave out orders, fills and equity.
    """
    bars = scene.year_of_bars(sizes.year)
    few = bars.head(sizes.year // 5)
    rounds = max(sizes.rounds // 5, 1)
    means = [bars["close"].rolling_mean(size, min_samples=1).to_list() for size in (_FAST, _SLOW)]
    contestants: dict[str, Callable[[int], object]] = {
        "floor": lambda _: _bare(bars, *means),
        "expressions": lambda _: _played(bars, _EXPRESSIONS),
        "functions": lambda _: _played(few, _FUNCTIONS),
        "vector floor": lambda _: _running(bars),
        "vector": lambda _: _played(bars, _EXPRESSIONS, Weights(_TARGET, _EXPRESSIONS)),
    }
    times = take_turns(rounds, contestants, warm_up=1)
    rate = {name: taken.percentile(50) for name, taken in times.items()}
    floor = bars.height / rate["floor"]
    goals = (("expressions", bars.height, 500_000.0), ("functions", few.height, 100_000.0))
    vector = Figure(
        f"vector path, two expressions over {_SLOW} bars",
        bars.height / rate["vector"],
        "bars/s",
        goal=5_000_000.0,
        floor=bars.height / rate["vector floor"],
        floor_is="running means of numpy",
        more_is_better=True,
    )
    return [
        Figure(
            f"event path, two {name} over {_SLOW} bars",
            height / rate[name],
            "bars/s",
            goal=goal,
            floor=floor,
            floor_is="a bare loop of Python",
            more_is_better=True,
        )
        for name, height, goal in goals
    ] + [vector]


class _Cross:
    fast: float
    slow: float

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        portfolio.target(bar.series, 1.0 if self.fast > self.slow else 0.0)

    def on_gap(self, gap: object, portfolio: Portfolio) -> None: ...

    def on_revision(self, revision: object, portfolio: Portfolio) -> None: ...


def _played(bars: pl.DataFrame, nodes: Mapping[str, Any], weights: Weights | None = None) -> Run:
    grid = Grid(scene.SERIES.timeframe)
    readers = [Reader("price", (scene.SERIES,), _SLOW, nodes)]
    played = Run(
        _Cross(),
        readers,
        {scene.SERIES: grid},
        FillModel(),
        start=0,
        weights=weights,
        listens=weights is None,
    )
    for first in range(0, bars.height, _STRETCH):
        part = bars.slice(first, _STRETCH)
        played.play(Part({scene.SERIES: part}), scene.YEAR_START + (first + part.height) * grid.step)
    assert played.outcome.bars == bars.height - _SLOW + 1
    return played


def _bare(bars: pl.DataFrame, fast: list[float], slow: list[float]) -> int:
    changes, weight = 0, 0.0
    for _, a, b in zip(bars["close"].to_list(), fast, slow, strict=True):
        wanted = 1.0 if a > b else 0.0
        if wanted != weight:
            weight, changes = wanted, changes + 1
    return changes


def _running(bars: pl.DataFrame) -> int:
    sums = np.cumsum(bars["close"].to_numpy())
    fast, slow = (sums[size:] - sums[:-size] for size in (_FAST, _SLOW))
    is_above = fast[_SLOW - _FAST :] / _FAST > slow / _SLOW
    return int(np.count_nonzero(is_above[1:] != is_above[:-1]))
