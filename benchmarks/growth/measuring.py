"""What a process pays for on one rung: to open the store, to read bars, to append one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

import numpy as np

from benchmarks import scene
from benchmarks.growth.counting import Counts, counting
from benchmarks.growth.ladders import WINDOW, Holding
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.bars import synthetic_bars

_STATUS = Path("/proc/self/status")
OPEN, FIRST, FETCH, COVERAGE, COMMIT = "open", "first fetch", "fetch", "coverage", "commit"
NEW = "first commit"
# Far from the numbers of series that ladders store.
_NEW_SERIES = 1_000_000

Gauged = TypeVar("Gauged")
Gauge = Callable[[Callable[[], object]], Gauged]


class Cost(NamedTuple):
    """Medians of one kind of work. seconds: without anything being counted."""

    seconds: float
    steps: int
    pages: int
    calls: int


class Costs(NamedTuple):
    """of: the cost of each kind of work.

    peak: bytes of memory that a process needed for all of it, beyond what it had before it opened the store;
    0 where the system does not say.
    """

    of: dict[str, Cost]
    peak: int


def measured(folder: Path, holding: Holding, rounds: int) -> Costs:
    """Times and counts of `rounds` rounds, each in a process that knows nothing of the store yet."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        times, peak = pool.submit(_timed, folder, holding, rounds).result()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        counts = pool.submit(_counted, folder, holding, rounds).result()
    return Costs({work: Cost(times[work], *counts[work]) for work in times}, peak)


def _timed(folder: Path, holding: Holding, rounds: int) -> tuple[dict[str, float], int]:
    before = _memory("VmRSS")
    found = _all_work(folder, holding, rounds, _seconds_of, first=0)
    return {work: median(seconds) for work, seconds in found.items()}, _memory("VmHWM") - before


def _counted(folder: Path, holding: Holding, rounds: int) -> dict[str, Counts]:
    with counting() as counter:
        found = _all_work(folder, holding, rounds, counter.count, first=rounds + 1)
    return {
        work: Counts(*(int(median(column)) for column in zip(*counts, strict=True)))
        for work, counts in found.items()
    }


def _seconds_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _all_work(
    folder: Path, holding: Holding, rounds: int, gauge: Gauge[Gauged], *, first: int
) -> dict[str, list[Gauged]]:
    """Each kind of work, once more than asked for: the first round loads modules, and is left out.

    first: which of the bars behind the stored ones is appended first, and which of new series is begun first.
    """
    numbers = range(first, first + rounds + 1)
    places = _places(holding, rounds + 1)
    found = {
        OPEN: [gauge(lambda: _provider(folder).close()) for _ in places],
        FIRST: [_first_fetch(folder, place, gauge) for place in places],
    }
    with _provider(folder) as provider:
        for series, span in places:  # from now on this process has seen each of these series
            provider.fetch(series, *span)
        found[FETCH] = [_gauged(gauge, provider.fetch, place) for place in places]
        found[COVERAGE] = [_gauged(gauge, provider.coverage, place) for place in places]
        store, end = provider.store, holding.span.end
        found[COMMIT] = [
            _committed(store, holding.series[0], end + number * MINUTE, gauge) for number in numbers
        ]
        found[NEW] = [
            _committed(store, scene.series_number(_NEW_SERIES + number), end, gauge) for number in numbers
        ]
    return {work: taken[1:] for work, taken in found.items()}


Place = tuple[SeriesId, Span]


def _places(holding: Holding, count: int) -> Sequence[Place]:
    """Windows at random places of random series."""
    draw = np.random.default_rng(7)
    rows = holding.span.length // MINUTE
    series = draw.integers(0, len(holding.series), count).tolist()
    firsts = draw.integers(0, rows - WINDOW, count).tolist()
    starts = [holding.span.start + first * MINUTE for first in firsts]
    return [
        (holding.series[one], Span(start, start + WINDOW * MINUTE))
        for one, start in zip(series, starts, strict=True)
    ]


def _provider(folder: Path) -> SeamlessDataProvider:
    return SeamlessDataProvider(folder, vendors={}, cache_bytes=0)


def _first_fetch(folder: Path, place: Place, gauge: Gauge[Gauged]) -> Gauged:
    """The first that a process, or its provider, wants of a series."""
    with _provider(folder) as provider:
        return _gauged(gauge, provider.fetch, place)


def _gauged(gauge: Gauge[Gauged], verb: Callable[[SeriesId, int, int], object], place: Place) -> Gauged:
    series, (start, end) = place
    return gauge(lambda: verb(series, start, end))


def _committed(store: Store, series: SeriesId, start: int, gauge: Gauge[Gauged]) -> Gauged:
    """One bar behind all that the series has, durable."""
    write = scene.write_of(synthetic_bars(series, Span(start, start + MINUTE)))
    return gauge(lambda: store.commit(series, write))


def _memory(name: str) -> int:
    if not _STATUS.exists():
        return 0
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
