"""Conformance of 10 million rows."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl

from benchmarks import scene
from benchmarks.figures import DUCKDB, PARQUET, Comparison, Figure
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import take_turns
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import VALUES
from qmtl.foundation.grid import Grid
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.row_rules import rules_for
from qmtl.runtime.conformance.rules import DEFAULT_THRESHOLDS

# The row rules, as SQL for another tool.
_IN_SQL = """
SELECT bool_or(open IS NULL OR high IS NULL OR low IS NULL OR close IS NULL),
       bool_or(volume IS NULL OR NOT isfinite(volume)),
       bool_or(NOT (isfinite(open) AND isfinite(high) AND isfinite(low) AND isfinite(close))),
       bool_or(low <= 0), bool_or(high < low), bool_or(high < open OR high < close),
       bool_or(low > open OR low > close), bool_or(volume < 0), bool_or(volume = 0)
FROM bars
"""


def _impossible(facts: SeriesFacts) -> list[pl.Expr]:
    return [broken.any().alias(rule) for rule, broken in rules_for(facts).items()]


def _against_the_row_before(grid: Grid) -> list[pl.Expr]:
    limits, before = DEFAULT_THRESHOLDS, pl.col("close").shift(1)
    far = math.exp(min(limits.spike_least, limits.shift_least))
    asked = {
        "gap": pl.col("ts").to_physical().diff() != grid.step,
        "dip": pl.col("low") * far < before,
        "peak": pl.col("high") > before * far,
        "loud": pl.col("volume") > pl.col("volume").shift(1) * limits.volume_times,
        "zero_volume": pl.col("volume") == 0,
        "repeated": pl.col("close") == before,
    }
    return [question.any().alias(name) for name, question in asked.items()]


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """All rules over one series, against one bare select with the same checks as expressions.

    The select finds impossible rows, and gaps, jumps and large volumes against the row before. The
    pipeline also looks closer at each candidate, and for silences, stale runs and padding.
    """
    import duckdb

    frame = scene.many_bars(sizes.many)
    facts, grid = SeriesFacts(), Grid(scene.SERIES.timeframe)
    expressions = [*_impossible(facts), *_against_the_row_before(grid)]
    pipeline = ConformancePipeline()
    frame.write_parquet(folder / "bars.parquet")
    duck = duckdb.connect(str(folder / "bars.duckdb"))
    duck.register("fresh", frame.drop("ts").to_arrow())
    duck.execute("CREATE TABLE bars AS SELECT * FROM fresh")
    duck.unregister("fresh")
    times = take_turns(
        max(sizes.rounds // 2, 1),
        {
            "floor": lambda _: frame.select(pl.sum(*VALUES), pl.col("ts").to_physical().sum()),
            "select": lambda _: frame.select(expressions),
            "flag": lambda _: pipeline.flag(frame, grid=grid, facts=facts),
            DUCKDB: lambda _: duck.execute(_IN_SQL).fetchall(),
            PARQUET: lambda _: pl.scan_parquet(folder / "bars.parquet").select(expressions).collect(),
        },
    )
    duck.close()
    beside = Comparison(
        "ms",
        times["floor"],
        "sum of the same columns",
        {DUCKDB: times[DUCKDB], PARQUET: times[PARQUET]},
    )
    bound = 2 * beside.in_unit(times["select"].percentile(50))
    return [
        beside.figure("all rules (goal: 2 x the select)", times["flag"], goal=bound),
        beside.figure("the same questions as one bare select", times["select"]),
    ]
