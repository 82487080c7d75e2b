"""Append one bar, durable."""

from __future__ import annotations

from pathlib import Path

from benchmarks import scene
from benchmarks.figures import Beside, Figure
from benchmarks.peers import DUCKDB, PARQUET, Duck, write_parquet
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import calls_of, take_turns
from qmtl.runtime.io.store.embedded import EmbeddedStore


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """At the end of a stored year, bar after bar. Parquet gets a new file for each bar.

    Both goals are multiples of the median of a bare append of 48 bytes + fdatasync to a
    file of the same folder.
    """
    rounds, warm_up = sizes.quick_rounds, min(20, sizes.quick_rounds)
    calls = calls_of(rounds, warm_up=warm_up)
    frame = scene.year_of_bars(sizes.year + calls)
    scene.fill_store(folder / "store", frame.head(sizes.year))
    rows = [frame.slice(sizes.year + number, 1) for number in range(calls)]
    writes = [scene.write_of(row) for row in rows]
    values = [row.cast({"ts": int}).row(0) for row in rows]
    with (
        EmbeddedStore(folder / "store") as store,
        Duck(folder / "bars.duckdb") as duck,
        (folder / "bare").open("wb") as bare,
    ):
        duck.insert(frame.head(sizes.year))
        duck.checkpoint()

        def write_and_sync(_: int) -> None:
            bare.write(bytes(48))
            bare.flush()
            scene.sync(bare.fileno())

        times = take_turns(
            rounds,
            {
                "floor": write_and_sync,
                "store": lambda number: store.commit(scene.SERIES, writes[number]),
                DUCKDB: lambda number: duck.append(values[number]),
                PARQUET: lambda number: write_parquet(rows[number], folder / f"{number}.parquet"),
            },
            warm_up=warm_up,
        )
    beside = Beside(
        "ms",
        times["floor"],
        "bare write + fdatasync, p50",
        {DUCKDB: times[DUCKDB], PARQUET: times[PARQUET]},
    )
    floor = beside.in_unit(times["floor"].percentile(50))
    return [
        beside.figure("p50 (goal: 3 x the floor)", times["store"], goal=3 * floor),
        beside.figure("p99 (goal: 6 x the floor)", times["store"], goal=6 * floor, percent=99),
        beside._replace(peers={}).figure("the floor's own p99", times["floor"], percent=99),
    ]
