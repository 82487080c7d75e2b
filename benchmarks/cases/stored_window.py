"""Fetch 1,000 stored bars, checked, with receipt."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import scene
from benchmarks.arctic import Arctic, opened
from benchmarks.figures import ARCTIC, DUCKDB, PARQUET, Comparison, Figure
from benchmarks.peers import Duck, read_parquet, write_parquet
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import Contestant, OwnTime, calls_of, take_turns
from benchmarks.writer import writing
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.conformance.context_window import CONTEXT
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.sdk.provider import SeamlessDataProvider


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """Windows at random places of a stored year; nothing is cached but what the operating system caches.

    Also right after another process has written, to the same series or to another one.
    """
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
        writing(folder / "store") as append,
        opened(folder / "arctic") as arctic,
    ):
        duck.insert(frame)
        duck.checkpoint()
        others: dict[str, Contestant] = {}
        if arctic is not None:
            arctic.load(frame, "year")
            arctic.write("bench", "year")
            others[ARCTIC] = partial(_read_arctic, arctic, windows)

        def fetch_and_read_all(number: int) -> object:
            result = provider.fetch(scene.SERIES, *windows[number])
            return result.receipt.to_json(), result.report, result.coverage

        def fetch_after_write(series: SeriesId, number: int) -> OwnTime:
            append(series)
            began = time.perf_counter()
            result = provider.fetch(scene.SERIES, *windows[number])
            return OwnTime(time.perf_counter() - began, result)

        times = take_turns(
            rounds,
            {
                "floor": touch,
                "fetch": lambda number: provider.fetch(scene.SERIES, *windows[number]),
                "all": fetch_and_read_all,
                "after write": partial(fetch_after_write, scene.SERIES),
                "after other write": partial(fetch_after_write, scene.series_number(1)),
                "store": lambda number: store.read(scene.SERIES, windows[number], context=CONTEXT),
                DUCKDB: lambda number: duck.read(windows[number]),
                PARQUET: lambda number: read_parquet(folder / "bars.parquet", windows[number]),
                **others,
            },
        )
    beside = Comparison(
        "ms",
        times["floor"],
        "map the same bytes and touch them",
        {peer: times.get(peer) for peer in (DUCKDB, PARQUET, ARCTIC)},
    )
    return [
        beside.figure("fetch", times["fetch"], goal=0.4),
        beside.figure("fetch, p99", times["fetch"], percent=99),
        beside.figure("after a write to the series by another process", times["after write"], goal=0.5),
        beside.figure("after a write to another series", times["after other write"], goal=0.5),
        beside.figure("of which the store", times["store"]),
        beside.figure("fetch, then read fingerprint, report, coverage", times["all"]),
    ]


def _read_arctic(arctic: Arctic, windows: list[Span], number: int) -> OwnTime:
    return arctic.read("bench", windows[number])
