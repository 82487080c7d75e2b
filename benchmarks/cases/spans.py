"""Merge 200,000 spans; find what is missing against them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.figures import DUCKDB, Comparison, Figure
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import take_turns
from qmtl.foundation.timeline import Coverage, Int64Array

# Starts of runs are rows that begin behind everything before them.
_IN_SQL = """
WITH marked AS (
    SELECT *, start > max(until) OVER (
        ORDER BY start ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS apart FROM spans
), numbered AS (
    SELECT *, sum(coalesce(apart, true)::INT) OVER (ORDER BY start) AS run FROM marked
)
SELECT min(start), max(until) FROM numbered GROUP BY run ORDER BY 1
"""


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """Two coverages of half that many spans each are merged; the whole range less all spans is missing."""
    import duckdb

    draw = np.random.default_rng(7)
    ours, theirs = (_spans(draw, sizes.spans // 2) for _ in range(2))
    many = Coverage.from_arrays(*_spans(draw, sizes.spans))
    left, right = Coverage.from_arrays(*ours), Coverage.from_arrays(*theirs)
    starts, ends = (np.concatenate(pair) for pair in zip(ours, theirs, strict=True))
    table = pl.DataFrame({"start": starts, "until": ends})
    whole = Coverage.of(many.hull)
    duck = duckdb.connect()
    duck.register("spans", table.to_arrow())
    times = take_turns(
        4 * sizes.rounds,
        {
            "floor": lambda _: (np.sort(starts, kind="stable"), np.sort(ends, kind="stable")),
            "merge": lambda _: left | right,
            "loose": lambda _: Coverage.from_arrays(starts, ends),
            "missing": lambda _: whole - many,
            "polars": lambda _: _in_polars(table),
            DUCKDB: lambda _: duck.execute(_IN_SQL).fetchnumpy(),
        },
    )
    duck.close()
    if _in_polars(table).height != len(left | right):
        raise AssertionError("the contestants disagree on the merged spans")
    merging = Comparison(
        "ms",
        times["floor"],
        "sort the same numbers",
        {DUCKDB: times[DUCKDB], "polars": times["polars"]},
    )
    missing = Comparison("ms", times["floor"], merging.floor_is)
    return [
        merging.figure("merge two sorted halves", times["merge"], goal=20.0),
        merging.figure("merge spans in any order", times["loose"], goal=20.0),
        missing.figure("missing against them", times["missing"], goal=20.0),
    ]


def _spans(draw: np.random.Generator, count: int) -> tuple[Int64Array, Int64Array]:
    """Disjoint spans in order, of 1 to 9 minutes with gaps of 1 to 9 minutes between them."""
    edges = np.cumsum(draw.integers(1, 10, 2 * count)) * 60_000_000_000
    return edges[::2].copy(), edges[1::2].copy()


def _in_polars(table: pl.DataFrame) -> pl.DataFrame:
    return (
        table.sort("start")
        .with_columns(run=(pl.col("start") > pl.col("until").cum_max().shift(1)).fill_null(True).cum_sum())
        .group_by("run", maintain_order=True)
        .agg(pl.col("start").first(), pl.col("until").max())
    )
