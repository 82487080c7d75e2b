"""Append one bar, durable."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks import scene
from benchmarks.arctic import opened
from benchmarks.figures import ARCTIC, DUCKDB, PARQUET, Comparison, Figure
from benchmarks.peers import Duck, write_parquet
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import Contestant, calls_of, take_turns
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore


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
        opened(folder / "arctic") as arctic,
    ):
        duck.insert(frame.head(sizes.year))
        duck.checkpoint()
        others: dict[str, Contestant] = {}
        if arctic is not None:
            arctic.load(frame.head(sizes.year), "stored")
            arctic.load(frame.tail(calls), "rows")
            arctic.write("bench", "stored")
            others[ARCTIC] = partial(arctic.append, "bench", "rows")

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
                **others,
            },
            warm_up=warm_up,
        )
    beside = Comparison(
        "ms",
        times["floor"],
        "bare write + fdatasync, p50",
        {peer: times.get(peer) for peer in (DUCKDB, PARQUET, ARCTIC)},
    )
    floor = beside.in_unit(times["floor"].percentile(50))
    return [
        beside.figure("p50 (goal: 3 x the floor)", times["store"], goal=3 * floor),
        beside.figure("p99 (goal: 6 x the floor)", times["store"], goal=6 * floor, percent=99),
        beside._replace(peers={}).figure("the floor's own p99", times["floor"], percent=99),
    ]
