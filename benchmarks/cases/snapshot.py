"""Write a snapshot of a large series to a folder, and read a year from it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import polars as pl

from benchmarks import scene
from benchmarks.figures import Figure
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import take_turns
from qmtl.foundation.clock import SystemClock
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.snapshots.addresses import place_named
from qmtl.runtime.io.snapshots.numbering import read_manifest
from qmtl.runtime.io.snapshots.reading import bars_of
from qmtl.runtime.io.snapshots.writing import write_snapshot
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore

# Whole snapshots that are written.
_ROUNDS = 3


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """From a store, durable, with checksums; beside polars' own file of a frame in memory.

    The goals are for the file that polars writes unless it is asked for another. What one takes that is
    compressed as ours is told beside: of a read, our checksums alone take nearly as long.
    """
    frame = scene.many_bars(sizes.snapshot)
    for first in range(0, frame.height, sizes.year):
        scene.fill_store(folder / "store", frame.slice(first, sizes.year))
    ts = frame["ts"].to_physical()
    year = Span(int(ts[0]), int(ts[min(sizes.year, frame.height) - 1]) + 1)
    frame.head(sizes.year).write_parquet(folder / "year.parquet")
    frame.head(sizes.year).write_parquet(folder / "lz4.parquet", compression="lz4")
    with EmbeddedStore(folder / "store", read_only=True) as store:
        writing = take_turns(
            _ROUNDS,
            {
                "snapshot": lambda n: write_snapshot(
                    store, place_named(folder / f"out{n}"), [scene.SERIES], clock=SystemClock()
                ),
                "sink": lambda n: frame.lazy().sink_parquet(folder / f"{n}.parquet"),
                "lz4": lambda n: frame.lazy().sink_parquet(folder / f"{n}.lz4.parquet", compression="lz4"),
            },
            warm_up=0,
        )
    place = place_named(folder / "out0")
    entry = read_manifest(place).entry(scene.SERIES)
    reading = take_turns(
        sizes.rounds,
        {
            "snapshot": lambda _: bars_of(place, entry, year),
            "polars": lambda _: pl.read_parquet(folder / "year.parquet"),
            "lz4": lambda _: pl.read_parquet(folder / "lz4.parquet"),
        },
    )
    rate = {name: frame.height / taken.percentile(50) / 1e6 for name, taken in writing.items()}
    ms = {name: taken.percentile(50) * 1e3 for name, taken in reading.items()}
    mine = partial(Figure, floor_is="polars' own Parquet, of a frame in memory")
    return [
        mine(
            "rate",
            rate["snapshot"],
            "M rows/s",
            goal=0.8 * rate["sink"],
            floor=rate["sink"],
            more_is_better=True,
        ),
        mine("a year, checked", ms["snapshot"], "ms", goal=1.5 * ms["polars"], floor=ms["polars"]),
        Figure("polars' own by LZ4", rate["lz4"], "M rows/s", more_is_better=True),
        Figure("a year of polars' by LZ4", ms["lz4"], "ms"),
    ]
