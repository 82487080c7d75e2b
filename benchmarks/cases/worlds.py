"""Run strategies over many series of a store, and many sets of parameters over one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks import scene
from benchmarks.figures import Figure
from benchmarks.sizes import Sizes
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.replay.bars import Bar
from qmtl.runtime.replay.portfolio import Portfolio
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.runner import Runner
from qmtl.runtime.sdk.strategy import Strategy, StreamInput, node
from qmtl.runtime.testing import synthetic_bars
from qmtl.runtime.worlds.loading import load_world
from qmtl.runtime.worlds.world import World

_SERIES, _SETS = 50, 1_000
_CACHE = 64 << 20
_CLOSE = pl.col("close")
_HOURS = SeriesId.parse("ohlcv:x:BTC/USDT:1h")

_WORLD = """
world:
  id: many
  data:
    definitions:
      - preset: bench.1m
        meaning: Bars of the benchmark.
        series: "ohlcv:%s:{symbol}:1m"
        vendor: {kind: files, path: "nothing/{symbol}.csv"}
    presets:
      - {id: all, preset: bench.1m, universe: {symbols: [%s]}}
"""


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """From a warm store. The floors read the same bars, and do nothing with them.

    Of many series, each bar is delivered to a strategy that orders once a day.
    """
    names = [scene.series_number(number) for number in range(min(_SERIES, sizes.panel))]
    hours = synthetic_bars(_HOURS, scene.span_of(sizes.year // 60 * 60))
    with EmbeddedStore(folder / "store") as store:
        for name in names:
            store.commit(name, scene.write_of(scene.year_of_bars(sizes.year, name)))
        answered = Coverage.of(scene.span_of(sizes.year // 60 * 60))
        store.commit(_HOURS, Write(scene.SOURCE, answered.hull.end, hours, answered))
    world = _world(folder, names)
    span = Span(scene.YEAR_START, scene.YEAR_START + sizes.year * MINUTE)
    with SeamlessDataProvider(folder / "store", vendors={}, cache_bytes=_CACHE, progress=False) as provider:
        first = _to_first_bar(provider, world, span)
        began = time.perf_counter()
        read = sum(1 for _ in _parts(provider, [name.text for name in names], span))
        floor = time.perf_counter() - began
        assert read
        Path("/proc/self/clear_refs").write_text("5")  # from here on Linux keeps the peak anew
        before, began = _memory("VmRSS"), time.perf_counter()
        result = Runner.submit(
            Merged, world=world, history_provider=provider, start=span.start + MINUTE, end=span.end
        )
        taken, more = time.perf_counter() - began, _memory("VmHWM") - before - _CACHE
        began = time.perf_counter()
        once = provider.fetch(_HOURS, *answered.hull).frame.height
        one_read = time.perf_counter() - began
        assert once == hours.height
        swept, of_sets = _sweep(provider, answered.hull, _SETS if sizes.panel >= _SERIES else 10)
    bars = result.figures.bars
    assert bars == len(names) * (sizes.year - 1)
    what = f"{len(names)} series of minutes"
    return [
        Figure(f"{what}, merged", bars / taken, "bars/s", 300_000.0, bars / floor,
               "reading them", more_is_better=True),
        Figure(f"{what}, memory beyond the cache", max(more, 0) / 2**20, "MB", 300.0),
        Figure(f"{what}, submit to first bar", first, "s", 1.0),
        Figure(f"{of_sets:,} sets of parameters over {hours.height:,} hours", swept, "s", None, one_read,
               "reading them once"),
    ]  # fmt: skip


class Merged(Strategy):
    """Nearly nothing, so that what is measured is the merge."""

    price = StreamInput(preset="all")

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        if not bar.ts % DAY:
            portfolio.target(bar.series, 0.01)


class _First(BaseException):
    """The first bar is there."""


class Stops(Merged):
    """At its first bar."""

    price = StreamInput(preset="all", window=200)
    mean = node(price, _CLOSE.mean())

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        raise _First


def _to_first_bar(provider: SeamlessDataProvider, world: World, span: Span) -> float:
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        try:
            Runner.submit(
                Stops, world=world, history_provider=provider, start=span.end - 12 * HOUR, end=span.end
            )
        except _First:
            best = min(best, time.perf_counter() - began)
    return best


def _sweep(provider: SeamlessDataProvider, span: Span, count: int) -> tuple[float, int]:
    sets = [{"fast": 2 + number % 25, "slow": 30 + number // 25} for number in range(count)]
    began = time.perf_counter()
    for result in Runner.sweep(
        _crossing, sets, history_provider=provider, start=span.start + 5 * DAY, end=span.end
    ):
        assert result.figures.bars
    return time.perf_counter() - began, count


def _crossing(fast: int, slow: int) -> type[Strategy]:
    class Crossing(Strategy):
        price = StreamInput(_HOURS, window=slow)
        quick = node(price, _CLOSE.tail(fast).mean())
        calm = node(price, _CLOSE.mean())
        target = pl.when(pl.col("quick") > pl.col("calm")).then(1.0).otherwise(0.0)

    return Crossing


def _parts(provider: SeamlessDataProvider, names: list[str], span: Span) -> Iterator[Any]:
    step = 200_000 // len(names) * MINUTE
    for start in range(span.start, span.end, step):
        yield provider.fetch_many(names, start, min(start + step, span.end)).results


def _memory(name: str) -> int:
    """Bytes of this process, as Linux counts them."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) * 1024


def _world(folder: Path, names: list[SeriesId]) -> World:
    path = folder / "world.yml"
    path.write_text(_WORLD % (names[0].venue, ", ".join(f'"{name.symbol}"' for name in names)))
    return load_world(path)
