"""Fetch 1,000 stored bars, checked, with receipt."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks import scene
from benchmarks.figures import Beside, Figure
from benchmarks.peers import DUCKDB, PARQUET, Duck, read_parquet, write_parquet
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import calls_of, take_turns
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.conformance.stretch import CONTEXT
from qmtl.runtime.io.store.embedded import EmbeddedStore
from qmtl.runtime.sdk.provider import SeamlessDataProvider


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """Windows at random places of a stored year; nothing is cached but what the operating system caches."""
    frame = scene.year_of_bars(sizes.year)
    scene.fill_store(folder / "store", frame)
    scene.write_durably(folder / "raw", scene.raw_bytes(frame))
    write_parquet(frame, folder / "bars.parquet")
    rounds = max(sizes.quick_rounds // 4, 2)
    draw = np.random.default_rng(7)
    firsts = draw.integers(0, sizes.year - sizes.window, calls_of(rounds)).tolist()
    windows = [Span(a, a + sizes.window * MINUTE) for a in (scene.YEAR_START + f * MINUTE for f in firsts)]

    def touch(number: int) -> object:
        # The same bytes as six columns hold of a window, in one piece.
        return scene.map_and_touch(folder / "raw", offset=48 * firsts[number], length=48 * sizes.window)

    with (
        Duck(folder / "bars.duckdb") as duck,
        EmbeddedStore(folder / "store") as store,
        SeamlessDataProvider(folder / "store", vendors={}, cache_bytes=0) as provider,
    ):
        duck.insert(frame)
        duck.checkpoint()

        def fetch_and_read_all(number: int) -> object:
            result = provider.fetch(scene.SERIES, *windows[number])
            return result.receipt.to_json(), result.report, result.coverage

        times = take_turns(
            rounds,
            {
                "floor": touch,
                "fetch": lambda number: provider.fetch(scene.SERIES, *windows[number]),
                "all": fetch_and_read_all,
                "store": lambda number: store.read(scene.SERIES, windows[number], context=CONTEXT),
                DUCKDB: lambda number: duck.read(windows[number]),
                PARQUET: lambda number: read_parquet(folder / "bars.parquet", windows[number]),
            },
        )
    beside = Beside(
        "ms",
        times["floor"],
        "map the same bytes and touch them",
        {DUCKDB: times[DUCKDB], PARQUET: times[PARQUET]},
    )
    return [
        beside.figure("fetch", times["fetch"], goal=1.0),
        beside.figure("fetch, p99", times["fetch"], percent=99),
        beside.figure("of which the store", times["store"]),
        beside.figure("fetch, then read fingerprint, report, coverage", times["all"]),
    ]
