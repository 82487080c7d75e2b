"""Check frames of bars against the registered schema."""

from __future__ import annotations

from pathlib import Path

from benchmarks import scene
from benchmarks.figures import Comparison, Figure
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import take_turns
from qmtl.runtime.conformance.registered_schema import check
from qmtl.runtime.sdk.schema_enforcer import own


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """A year and a window of bars, against the schema that comes with the package; none of them breaks it."""
    year = scene.year_of_bars(sizes.year)
    window, schema = year.slice(0, sizes.window), own("ohlcv")
    if check(year, schema).violations:
        raise AssertionError("the bars of the benchmark break their schema")
    times = take_turns(
        sizes.quick_rounds // 4 + 2,
        {
            "floor of a year": lambda _: (year["ts"].null_count(), year["volume"].min(), year["ts"].max()),
            "year": lambda _: check(year, schema),
            "floor of a window": lambda _: (window["ts"].null_count(), window["volume"].min()),
            "window": lambda _: check(window, schema),
        },
    )
    return [
        Comparison("ms", times["floor of a year"], "the extremes of two columns", {}).figure(
            f"{sizes.year:,} rows", times["year"], goal=5.0
        ),
        Comparison("us", times["floor of a window"], "the extremes of two columns", {}).figure(
            f"{sizes.window:,} rows", times["window"], goal=100.0
        ),
    ]
