"""Cold backfill of a year from a vendor in memory, written and verified."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks import scene
from benchmarks.figures import DUCKDB, PARQUET, Comparison, Figure
from benchmarks.peers import Duck, read_parquet, write_parquet
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import calls_of, take_turns
from qmtl.runtime.sdk.provider import SeamlessDataProvider

_MIB = 1024 * 1024


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """A SEAMLESS fetch from an empty store: requested in pages of 10,000 bars, committed, read back, checked.

    The others write the same pages durably, and read them back.
    """
    frame, span = scene.year_of_bars(sizes.year), scene.span_of(sizes.year)
    rounds = max(sizes.rounds // 2, 2)
    pages = [frame.slice(first, 10_000) for first in range(0, frame.height, 10_000)]
    raw = scene.raw_bytes(frame)
    providers = [
        SeamlessDataProvider(folder / f"store{number}", vendors=scene.MemoryVendor(frame))
        for number in range(calls_of(rounds))
    ]

    def write_and_touch(number: int) -> object:
        path = folder / f"raw{number}"
        scene.write_durably(path, raw)
        return scene.map_and_touch(path)

    def by_duck(number: int) -> object:
        with Duck(folder / f"{number}.duckdb") as duck:
            for page in pages:
                duck.insert(page)
            return duck.read(span)

    def by_parquet(number: int) -> object:
        home = folder / f"parquet{number}"
        home.mkdir()
        for place, page in enumerate(pages):
            write_parquet(page, home / f"{place:04}.parquet")
        return read_parquet(home, span)

    times = take_turns(
        rounds,
        {
            "floor": write_and_touch,
            "fetch": lambda number: providers[number].fetch(scene.SERIES, *span),
            DUCKDB: by_duck,
            PARQUET: by_parquet,
        },
    )
    for provider in providers:
        provider.close()
    beside = Comparison(
        "ms",
        times["floor"],
        "bare write of the raw bytes + fdatasync, then map and touch",
        {DUCKDB: times[DUCKDB], PARQUET: times[PARQUET]},
    )
    return [beside.figure("fetch", times["fetch"], goal=150.0), *_memory(sizes, folder)]


def _memory(sizes: Sizes, folder: Path) -> list[Figure]:
    """Peak memory of a process of its own; nothing where the system does not report it."""
    output = subprocess.run(
        [sys.executable, "-m", "benchmarks.peak_memory", str(sizes.year), str(folder / "memory")],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    if not output:
        return []
    peak, frame = (int(value) / _MIB for value in output)
    return [
        Figure(
            "peak memory over the frame itself",
            peak - frame,
            "MiB",
            goal=64.0,
            floor=frame,
            floor_is="the frame",
        )
    ]
