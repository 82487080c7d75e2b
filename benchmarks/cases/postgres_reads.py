"""Fetch from a store on PostgreSQL, checked, with receipt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from inspect import signature
from pathlib import Path

import numpy as np

from benchmarks import scene
from benchmarks.cases.panel import DAYS
from benchmarks.figures import Comparison, Figure
from benchmarks.postgres import FLOOR, FOLDER, SERVER, Places, beside_folder, places
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import Contestant, Times, calls_of, take_turns
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, MINUTE
from qmtl.runtime.sdk.provider import SeamlessDataProvider

# Series that are written in one transaction.
_AT_ONCE = 50


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """A year, 1,000 bars at random places, a day of many series, and cache hits; nothing else is cached.

    Each by two providers alike, whose stores hold the same.
    """
    with places(folder) as both:
        return [*_one_series(sizes, both), *_panel(sizes, both)]


def _one_series(sizes: Sizes, both: Places) -> list[Figure]:
    frame = scene.year_of_bars(sizes.year)
    with both.stores("year") as stores:
        for store in stores.values():
            store.commit(scene.SERIES, scene.write_of(frame))
    name, year = scene.SERIES.text, scene.span_of(sizes.year)
    rounds = max(sizes.quick_rounds // 4, 2)
    draw = np.random.default_rng(7)
    firsts = draw.integers(0, sizes.year - sizes.window, calls_of(4 * rounds, warm_up=100)).tolist()
    windows = [Span(a, a + sizes.window * MINUTE) for a in (scene.YEAR_START + f * MINUTE for f in firsts)]
    years = _times(both, "year", sizes.rounds, lambda one: lambda _: one.fetch(name, *year))
    some = _few_bars(both, rounds, windows)

    def hitting(provider: SeamlessDataProvider) -> Contestant:
        provider.fetch(name, *year)
        return lambda number: provider.fetch(name, *windows[number])

    # A bound on staleness, where there is one, lets a hit ask nobody.
    may_wait = "max_staleness" in signature(SeamlessDataProvider.__init__).parameters
    options = {"max_staleness": 1.0} if may_wait else {}
    hits = _times(both, "year", 4 * rounds, hitting, warm_up=100, cache_bytes=1 << 28, **options)
    beside = beside_folder("ms", years)
    hit = beside_folder("us", hits)
    return [
        beside.figure("a year", years[SERVER], goal=1.5 * _of(beside.floor, 1e3)),
        Comparison(
            "ms", some["floor"], f"for 1,000 bars, {FLOOR}, and a bare SELECT of a chunk's bytes"
        ).figure("1,000 bars", some[SERVER], goal=1.5),
        hit.figure(
            f"a cache hit, {'max_staleness 1 s' if may_wait else 'asking the server each time'}",
            hits[SERVER],
            goal=1.1 * _of(hit.floor, 1e6) if may_wait else None,
        ),
    ]


def _few_bars(both: Places, rounds: int, windows: Sequence[Span]) -> dict[str, Times]:
    """The floor is what cannot be spared: to ask a server that was idle for a moment, and all the rest."""
    from psycopg import connect

    name, places_of = scene.SERIES.text, both.of("year")
    with (
        SeamlessDataProvider(places_of[SERVER], vendors={}, cache_bytes=0) as provider,
        SeamlessDataProvider(places_of[FOLDER], vendors={}, cache_bytes=0) as beside,
        connect(both.server.url(), autocommit=True, prepare_threshold=0) as bare,
    ):
        chunks = [number for (number,) in bare.execute('SELECT chunk FROM "year".blob ORDER BY chunk')]
        cursor = bare.cursor(binary=True)

        def floor(number: int) -> object:
            asked = (chunks[number % len(chunks)],)
            (blob,) = cursor.execute('SELECT data FROM "year".blob WHERE chunk = %s', asked)
            return blob, beside.fetch(name, *windows[number])

        return take_turns(
            rounds, {"floor": floor, SERVER: lambda number: provider.fetch(name, *windows[number])}
        )


def _panel(sizes: Sizes, both: Places) -> list[Figure]:
    names = [scene.series_number(number) for number in range(sizes.panel)]
    rows = DAYS * DAY // MINUTE
    with both.stores("panel") as stores:
        for first in range(0, len(names), _AT_ONCE):
            some = names[first : first + _AT_ONCE]
            writes = {name: scene.write_of(scene.year_of_bars(rows, name)) for name in some}
            for store in stores.values():
                store.commit_many(writes)
    texts = [name.text for name in names]
    day = Span(scene.YEAR_START + 12 * DAY, scene.YEAR_START + 13 * DAY)
    last = Span(scene.YEAR_START + (DAYS - 1) * DAY, scene.YEAR_START + DAYS * DAY)
    days = _times(both, "panel", sizes.rounds, lambda one: lambda _: one.fetch_many(texts, *day))
    ends = _times(both, "panel", sizes.rounds, lambda one: lambda _: one.fetch_many(texts, *last))
    beside = beside_folder("ms", days)
    return [
        beside.figure(f"a day of {len(names):,} series", days[SERVER], goal=1.5 * _of(beside.floor, 1e3)),
        beside_folder("ms", ends).figure("the last day of all of them", ends[SERVER]),
    ]


def _times(
    both: Places,
    name: str,
    rounds: int,
    contestant: Callable[[SeamlessDataProvider], Contestant],
    *,
    warm_up: int = 1,
    cache_bytes: int = 0,
    **options: float,
) -> dict[str, Times]:
    with ExitStack() as open_ones:
        providers = {
            kind: open_ones.enter_context(
                SeamlessDataProvider(place, vendors={}, cache_bytes=cache_bytes, **options)  # type: ignore[arg-type]
            )
            for kind, place in both.of(name).items()
        }
        contestants = {kind: contestant(provider) for kind, provider in providers.items()}
        return take_turns(rounds, contestants, warm_up=warm_up)


def _of(times: Times, factor: float) -> float:
    return factor * times.percentile(50)
