"""Write one closed bar for each of many series, durable, with coverage."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from benchmarks import scene
from benchmarks.figures import DUCKDB, PARQUET, Comparison, Figure
from benchmarks.peers import Duck, write_parquet
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import calls_of, take_turns
from qmtl.foundation.series import SeriesId
from qmtl.foundation.times import DAY, MINUTE
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore

# Of each series, a day is stored before.
_STORED = DAY // MINUTE
_BAR = bytes(48)


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """All series in one transaction, and one after the other. DuckDB inserts the rows of all at once.

    Parquet gets a new file with the rows of all.
    """
    series = [scene.series_number(number) for number in range(sizes.panel)]
    calls = calls_of(sizes.rounds)
    frames = {one: scene.year_of_bars(_STORED + 2 * calls, one) for one in series}
    bare = (folder / "bare").open("wb")

    def write_and_sync(_: int) -> None:
        bare.write(_BAR * len(series))
        bare.flush()
        scene.sync(bare.fileno())

    with EmbeddedStore(folder / "store") as store, Duck(folder / "bars.duckdb") as duck:
        store.commit_many({one: scene.write_of(frame.head(_STORED)) for one, frame in frames.items()})
        duck.insert_many(_rows(frames, 0, _STORED))
        duck.checkpoint()
        bars = [
            {one: scene.write_of(frame.slice(_STORED + number, 1)) for one, frame in frames.items()}
            for number in range(2 * calls)
        ]
        rows = [_rows(frames, _STORED + number, 1) for number in range(calls)]

        def loop(number: int) -> None:
            for one, write in bars[calls + number].items():
                store.commit(one, write)

        times = take_turns(
            sizes.rounds,
            {
                "floor": write_and_sync,
                "many": lambda number: store.commit_many(bars[number]),
                DUCKDB: lambda number: duck.insert_many(rows[number]),
                PARQUET: lambda number: write_parquet(rows[number], folder / f"{number}.parquet"),
            },
        )
        # Afterwards, for its bars follow those of the others.
        times |= take_turns(max(sizes.rounds // 5, 1), {"loop": loop})
    bare.close()
    beside = Comparison(
        "ms",
        times["floor"],
        "bare write of the raw bytes + fdatasync",
        {DUCKDB: times[DUCKDB], PARQUET: times[PARQUET]},
    )
    return [
        beside.figure(f"{len(series):,} series as one commit", times["many"], goal=0.02 * len(series)),
        beside._replace(peers={}).figure("the same, a commit for each", times["loop"]),
    ]


def _rows(frames: dict[SeriesId, pl.DataFrame], first: int, count: int) -> pl.DataFrame:
    """Rows of all series, with the name of each."""
    return pl.concat(
        frame.slice(first, count).select(pl.lit(one.text).alias("series"), pl.all())
        for one, frame in frames.items()
    )
