"""Conformance of 10 million rows of real illiquid minutes, tiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks import real_data
from benchmarks.figures import Comparison, Figure, Skipped
from benchmarks.real_data import DATA, FREQTRADE, OCTOBOT
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import take_turns
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import VALUES, bars, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.row_rules import rules_for

_START = to_ns("2000-01-01")
# Holes, flat bars, padding: each of another kind.
SOURCES: dict[str, Callable[[], pl.DataFrame]] = {
    "BTC, a test's": lambda: real_data.feather(DATA / FREQTRADE / "UNITTEST_BTC-1m.feather"),
    "XRP/ETH": lambda: real_data.feather(DATA / FREQTRADE / "XRP_ETH-1m.feather"),
    "ADA/BTC": lambda: real_data.recorded(DATA / f"{OCTOBOT}1581775117.1713624.data", "ADA/BTC", "1m"),
}


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """All rules, against one bare select of the row rules."""
    if not real_data.is_there():
        raise Skipped(f"no real market data in {DATA}; set QMTL_TEST_DATA")
    return [
        figure for name, read in SOURCES.items() for figure in _of(name, tiled(read(), sizes.many), sizes)
    ]


def _of(name: str, frame: pl.DataFrame, sizes: Sizes) -> list[Figure]:
    facts, grid = SeriesFacts(), Grid(Timeframe.parse("1m"))
    pipeline = ConformancePipeline()
    rules = [broken.any().alias(rule) for rule, broken in rules_for(facts).items()]
    times = take_turns(
        max(sizes.rounds // 3, 1),
        {
            "floor": lambda _: frame.select(pl.sum(*VALUES), pl.col("ts").to_physical().sum()),
            "select": lambda _: frame.select(rules),
            "flag": lambda _: pipeline.flag(frame, grid=grid, facts=facts),
        },
    )
    beside = Comparison("ms", times["floor"], "sum of the same columns")
    bound = 3 * beside.in_unit(times["select"].percentile(50))
    return [
        beside.figure(f"{name}, all rules (goal: 3 x the select)", times["flag"], goal=bound),
        beside.figure(f"{name}, the row rules as one bare select", times["select"]),
    ]


def tiled(frame: pl.DataFrame, rows: int) -> pl.DataFrame:
    """The same bars again and again, one after the other in time, until there are about so many."""
    ts = stamps(frame) - stamps(frame)[0]
    length, times = int(ts[-1]) + MINUTE, max(rows // frame.height, 1)
    values = {name: np.tile(frame[name].to_numpy(), times) for name in VALUES}
    return bars(np.concatenate([_START + ts + turn * length for turn in range(times)]), values)
