"""Write to a store on PostgreSQL, durable, with coverage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks import scene
from benchmarks.figures import Comparison, Figure
from benchmarks.postgres import FLOOR, FOLDER, SERVER, Places, beside_folder, places
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import Contestant, calls_of, take_turns
from qmtl.foundation.times import DAY, MINUTE

_STORED = DAY // MINUTE
_BARE = "INSERT INTO bare (data) VALUES (%s)"


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """One bar, one bar for each of many series, changes within a long series, and years in bulk."""
    with places(folder) as both:
        return [
            *_appends(sizes, both),
            *_one_bar_each(sizes, both),
            *_upserts(sizes, both),
            *_bulk(sizes, both),
        ]


def _appends(sizes: Sizes, both: Places) -> list[Figure]:
    """The floor is one row inserted into a table of the same server, and committed."""
    rounds, warm_up = max(sizes.quick_rounds // 4, 2), 20
    calls = calls_of(rounds, warm_up=warm_up)
    frame = scene.year_of_bars(sizes.year + calls)
    writes = [scene.write_of(frame.slice(sizes.year + number, 1)) for number in range(calls)]
    from psycopg import connect

    with both.stores("append") as stores, connect(both.server.url(), autocommit=True) as bare:
        bare.execute("CREATE TABLE bare (data bytea)")
        stores[SERVER].commit(scene.SERIES, scene.write_of(frame.head(sizes.year)))
        contestants = {
            "floor": lambda _: bare.execute(_BARE, (bytes(48),)),
            SERVER: lambda number: stores[SERVER].commit(scene.SERIES, writes[number]),
        }
        times = take_turns(rounds, contestants, warm_up=warm_up)
    beside = Comparison("ms", times["floor"], "for one bar, a bare INSERT + COMMIT")
    goal = 2 * beside.in_unit(times["floor"].percentile(50))
    return [beside.figure("one bar (goal: 2 x the floor)", times[SERVER], goal=goal)]


def _one_bar_each(sizes: Sizes, both: Places) -> list[Figure]:
    series = [scene.series_number(number) for number in range(sizes.panel)]
    calls = calls_of(sizes.rounds)
    frames = {one: scene.year_of_bars(_STORED + calls, one) for one in series}
    with both.stores("each") as stores:
        for store in stores.values():
            store.commit_many({one: scene.write_of(frame.head(_STORED)) for one, frame in frames.items()})
        bars = [
            {one: scene.write_of(frame.slice(_STORED + number, 1)) for one, frame in frames.items()}
            for number in range(calls)
        ]
        times = take_turns(
            sizes.rounds,
            {kind: _in_turn(store.commit_many, bars) for kind, store in stores.items()},
        )
    what = f"one bar for each of {len(series):,} series"
    return [beside_folder("ms", times).figure(what, times[SERVER], goal=0.06 * len(series))]


def _in_turn(commit: Callable[[Any], object], writes: Sequence[Any]) -> Contestant:
    return lambda number: commit(writes[number])


def _upserts(sizes: Sizes, both: Places) -> list[Figure]:
    frame = scene.many_bars(sizes.many)
    rounds = sizes.rounds
    firsts = np.random.default_rng(7).integers(0, sizes.many - sizes.upsert, calls_of(rounds, warm_up=2))
    writes = [
        scene.write_of(frame.slice(first, sizes.upsert).with_columns(pl.col("volume") + 1.0 + number))
        for number, first in enumerate(firsts.tolist())
    ]
    with both.stores("upsert") as stores:
        for store in stores.values():
            for first in range(0, sizes.many, sizes.year):
                store.commit(scene.SERIES, scene.write_of(frame.slice(first, sizes.year)))
        times = take_turns(
            rounds,
            {kind: _in_turn(partial(store.commit, scene.SERIES), writes) for kind, store in stores.items()},
            warm_up=2,
        )
    beside = beside_folder("ms", times)
    goal = 2 * beside.in_unit(times[FOLDER].percentile(50))
    what = f"{sizes.upsert:,} changed rows of {sizes.many:,} (goal: 2 x the floor)"
    return [beside.figure(what, times[SERVER], goal=goal)]


def _bulk(sizes: Sizes, both: Places) -> list[Figure]:
    numbers = range(sizes.series)
    writes = [
        scene.write_of(scene.year_of_bars(sizes.year, scene.series_number(number))) for number in numbers
    ]
    with both.stores("bulk") as stores:

        def commit(kind: str, number: int) -> object:
            return stores[kind].commit(scene.series_number(number), writes[number])

        times = take_turns(sizes.series, {kind: partial(commit, kind) for kind in stores}, warm_up=0)
    rate = {kind: sizes.year / taken.percentile(50) / 1e6 for kind, taken in times.items()}
    return [
        Figure(
            "years in bulk",
            rate[SERVER],
            "M rows/s",
            goal=3.0,
            floor=rate[FOLDER],
            floor_is=FLOOR,
            more_is_better=True,
        )
    ]
