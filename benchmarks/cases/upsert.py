"""Upsert 10,000 rows into a series of 10 million, durable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from benchmarks import scene
from benchmarks.figures import DUCKDB, PARQUET, Comparison, Figure
from benchmarks.peers import Duck, upsert_parquet, write_parquet
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import calls_of, take_turns
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore

_PAGE = bytes(4096)


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """Rows that follow one another, at random places, all with new volumes.

    Parquet is cut into files of a year, one of which is written anew; DuckDB deletes the span and inserts it.
    """
    frame = scene.many_bars(sizes.many)
    scene.fill_store(folder / "store", frame)
    rounds = sizes.rounds
    calls = calls_of(rounds, warm_up=2)
    per_file = min(sizes.year, sizes.many)
    files = [folder / f"{number}.parquet" for number in range(sizes.many // per_file)]
    for number, path in enumerate(files):
        write_parquet(frame.slice(number * per_file, per_file), path)
    draw = np.random.default_rng(7)
    # Within one file each, so that Parquet too has to make only one anew.
    places = draw.integers(0, per_file - sizes.upsert, calls).tolist()
    chosen = draw.integers(0, len(files), calls).tolist()
    firsts = [file * per_file + place for file, place in zip(chosen, places, strict=True)]
    fresh = [
        frame.slice(first, sizes.upsert).with_columns(pl.col("volume") + 1.0 + number)
        for number, first in enumerate(firsts)
    ]
    writes = [scene.write_of(rows) for rows in fresh]
    bare = (folder / "bare").open("wb")
    bare.write(_PAGE * 64)
    bare.flush()
    scene.sync(bare.fileno())

    def write_and_sync(_: int) -> None:
        bare.seek(0)
        bare.write(_PAGE)
        bare.flush()
        scene.sync(bare.fileno())

    with EmbeddedStore(folder / "store") as store, Duck(folder / "bars.duckdb") as duck:
        duck.insert(frame)
        duck.checkpoint()

        def replace(number: int) -> None:
            first = scene.MANY_START + firsts[number] * MINUTE
            duck.replace(fresh[number], Span(first, first + sizes.upsert * MINUTE))

        times = take_turns(
            rounds,
            {
                "floor": write_and_sync,
                "store": lambda number: store.commit(scene.SERIES, writes[number]),
                DUCKDB: replace,
                PARQUET: lambda number: upsert_parquet(files[chosen[number]], fresh[number]),
            },
            warm_up=2,
        )
    bare.close()
    beside = Comparison(
        "ms",
        times["floor"],
        "write one page + fdatasync",
        {DUCKDB: times[DUCKDB], PARQUET: times[PARQUET]},
    )
    bound = 6.0 + beside.in_unit(times["floor"].percentile(50))
    return [beside.figure("commit (goal: 6 ms + one bare fdatasync)", times["store"], goal=bound)]
