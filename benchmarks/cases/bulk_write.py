"""Write series of a year each, durable; how small they lie."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks import scene
from benchmarks.arctic import Arctic, opened
from benchmarks.figures import ARCTIC, DUCKDB, PARQUET, Figure
from benchmarks.peers import Duck, write_parquet
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import Contestant, OwnTime, take_turns
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """One commit per series and year."""
    count = sizes.series
    frames = [scene.year_of_bars(sizes.year, scene.series_number(number)) for number in range(count)]
    writes = [scene.write_of(frame) for frame in frames]
    raw = [scene.raw_bytes(frame) for frame in frames]
    rows = sum(frame.height for frame in frames)
    (folder / "parquet").mkdir()
    (folder / "duck").mkdir()
    with (
        EmbeddedStore(folder / "store") as store,
        Duck(folder / "duck" / "bars.duckdb") as duck,
        opened(folder / "arctic") as arctic,
    ):
        others: dict[str, Contestant] = {}
        if arctic is not None:
            for number, frame in enumerate(frames):
                arctic.load(frame, str(number))
            others[ARCTIC] = partial(_write_arctic, arctic)
        times = take_turns(
            count,
            {
                "floor": lambda n: scene.write_durably(folder / f"raw{n}", raw[n]),
                "store": lambda n: store.commit(scene.series_number(n), writes[n]),
                DUCKDB: lambda n: duck.insert(frames[n], str(n)),
                PARQUET: lambda n: write_parquet(frames[n], folder / "parquet" / f"{n}.parquet"),
                **others,
            },
            warm_up=0,
        )
        duck.checkpoint()
    rate = {name: sizes.year / taken.percentile(50) / 1e6 for name, taken in times.items()}
    names = {"store": "store", DUCKDB: "duck", PARQUET: "parquet", ARCTIC: "arctic"}
    size = {name: scene.folder_bytes(folder / sub) / rows for name, sub in names.items() if name in rate}
    peers = (DUCKDB, PARQUET, ARCTIC)
    return [
        Figure(
            "rate",
            rate["store"],
            "M rows/s",
            goal=8.0,
            floor=rate["floor"],
            floor_is="bare write of the raw bytes + fdatasync",
            peers={peer: rate.get(peer) for peer in peers},
            more_is_better=True,
        ),
        Figure(
            "at rest",
            size["store"],
            "bytes/row",
            goal=6.9,
            floor=48.0,
            floor_is="raw columns",
            peers={peer: size.get(peer) for peer in peers},
        ),
    ]


def _write_arctic(arctic: Arctic, number: int) -> OwnTime:
    return arctic.write(str(number), str(number))
