"""Fetch from a store with rows in QuestDB, checked, with receipt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks import scene
from benchmarks.cases.panel import DAYS
from benchmarks.figures import Comparison, Figure
from benchmarks.questdb import Bare, bare, bars_of
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import Contestant, Times, calls_of, take_turns
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, MINUTE
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.stores import questdb_store

# The panel of the goal, whatever others are.
_PANEL = 200
_AT_ONCE = 50
_EXPORT = "a bare Parquet export (lz4) of the same rows in one version, as a frame"


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """A year in one version and with a tenth corrected, 1,000 bars, and a day of many series.

    The floors are queries of QuestDB's users, who ask for the same rows of a table, and check nothing.
    """
    with bare() as peer:
        return [*_one_series(sizes, peer, folder), *_panel(sizes, peer, folder)]


def _one_series(sizes: Sizes, peer: Bare, folder: Path) -> list[Figure]:
    frame, name = scene.year_of_bars(sizes.year), scene.SERIES.text
    once, twice = (
        f"{peer.server.url(folder / kind, kind)}&pg={peer.server.pg_port}" for kind in ("once", "twice")
    )
    corrected = frame.filter(pl.int_range(pl.len()) % 10 == 3).with_columns(pl.col("volume") + 1.0)
    with questdb_store(once) as store:
        store.commit(scene.SERIES, scene.write_of(frame))
        table = store.table
    with questdb_store(twice) as store:
        store.commit(scene.SERIES, scene.write_of(frame))
        store.commit(scene.SERIES, scene.write_of(corrected))
    year = scene.span_of(sizes.year)
    with (
        SeamlessDataProvider(once, vendors={}, cache_bytes=0) as one,
        SeamlessDataProvider(twice, vendors={}, cache_bytes=0) as two,
    ):
        years = take_turns(
            sizes.rounds,
            {
                "floor": lambda _: peer.by_export(bars_of(table, [name], year)),
                "one": lambda _: one.fetch(name, *year),
                "two": lambda _: two.fetch(name, *year),
            },
            warm_up=2,
        )
        windows = _windows(sizes)
        contestants: dict[str, Contestant] = {
            "one": lambda number: one.fetch(name, *windows[number]),
            "tuples": _asking(peer.rows_by_postgres_wire, table, windows),
            **{
                kind: _asking(ask, table, windows)
                for kind, ask in {
                    "Parquet export": peer.by_export,
                    "/exec": peer.by_json,
                    "PG wire": peer.by_postgres_wire,
                }.items()
            },
        }
        # Java compiles what is often done while it is done: the first hundreds of each kind are not counted.
        take_turns(_quick(sizes), contestants, warm_up=20)
        some = take_turns(_quick(sizes), contestants, warm_up=20)
    floors = {kind: some[kind] for kind in ("Parquet export", "/exec", "PG wire")}
    best = min(floors, key=lambda kind: floors[kind].percentile(50))
    beside = Comparison("ms", years["floor"], _EXPORT)
    few = Comparison(
        "ms", floors[best], f"for 1,000 bars, the quickest bare query that gives a frame ({best})"
    )
    return [
        beside.figure("a year", years["one"], goal=1.3 * _ms(beside.floor)),
        beside.figure("a year, 10 % of it corrected", years["two"], goal=1.8 * _ms(beside.floor)),
        few.figure(f"{sizes.window:,} bars", some["one"], goal=1.5 * _ms(few.floor)),
        *(few.figure(f"bare, {kind}", times) for kind, times in floors.items()),
        few.figure("bare, PG wire, tuples and no frame", some["tuples"]),
    ]


def _windows(sizes: Sizes) -> list[Span]:
    calls = calls_of(_quick(sizes), warm_up=20)
    firsts = np.random.default_rng(7).integers(0, sizes.year - sizes.window, calls).tolist()
    return [
        Span(start, start + sizes.window * MINUTE)
        for start in (scene.YEAR_START + first * MINUTE for first in firsts)
    ]


def _quick(sizes: Sizes) -> int:
    return max(sizes.quick_rounds // 4, 2)


def _asking(ask: Callable[[str], object], table: str, windows: list[Span]) -> Contestant:
    return lambda number: ask(bars_of(table, [scene.SERIES.text], windows[number]))


def _panel(sizes: Sizes, peer: Bare, folder: Path) -> list[Figure]:
    names = [scene.series_number(number) for number in range(min(_PANEL, sizes.panel))]
    url = peer.server.url(folder / "panel", "panel")
    rows = DAYS * DAY // MINUTE
    with questdb_store(url) as store:
        for first in range(0, len(names), _AT_ONCE):
            some = names[first : first + _AT_ONCE]
            store.commit_many({one: scene.write_of(scene.year_of_bars(rows, one)) for one in some})
        table = store.table
    texts = [one.text for one in names]
    day = Span(scene.YEAR_START + 12 * DAY, scene.YEAR_START + 13 * DAY)
    with SeamlessDataProvider(url, vendors={}, cache_bytes=0) as provider:
        times = take_turns(
            sizes.rounds,
            {
                "floor": lambda _: peer.by_export(bars_of(table, texts, day, with_series=True)),
                "fetch": lambda _: provider.fetch_many(texts, *day),
            },
            warm_up=2,
        )
    beside = Comparison("ms", times["floor"], "of a panel, one bare Parquet export, as one frame")
    return [beside.figure(f"a day of {len(names):,} series", times["fetch"], goal=1.5 * _ms(beside.floor))]


def _ms(times: Times) -> float:
    return 1e3 * times.percentile(50)
