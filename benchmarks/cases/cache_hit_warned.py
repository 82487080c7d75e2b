"""A cache hit of 1,000 bars, with receipt, where the year has a hundred warnings."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl

from benchmarks import scene
from benchmarks.figures import Comparison, Figure
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import OwnTime, calls_of, take_turns
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.sdk.provider import SeamlessDataProvider

_WARNINGS = 100


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """What the caller waits, and what the receipt says of it: at random places, and where a warning lies."""
    frame = _with_spikes(scene.year_of_bars(sizes.year))
    scene.fill_store(folder / "store", frame)
    rounds, warm_up = 4 * sizes.quick_rounds, min(100, sizes.quick_rounds)
    draw = np.random.default_rng(7)
    calls = calls_of(rounds, warm_up=warm_up)
    firsts = draw.integers(0, sizes.year - sizes.window, calls).tolist()
    windows = [_window(first, sizes.window) for first in firsts]
    warned = [
        _window(min(max(row - sizes.window // 2, 0), sizes.year - sizes.window), sizes.window)
        for row in draw.choice(_spikes(sizes.year), calls).tolist()
    ]
    shares: dict[str, list[float]] = {"fetch": [], "warned": []}
    with SeamlessDataProvider(folder / "store", vendors={}, partial_ok=True) as provider:
        year = provider.fetch(scene.SERIES, *scene.span_of(sizes.year))
        if (found := year.report.warnings) != _WARNINGS:
            raise AssertionError(f"the year has {found} warnings instead of {_WARNINGS}")

        def fetch(of: str, span: Span) -> OwnTime:
            began = time.perf_counter()
            result = provider.fetch(scene.SERIES, *span)
            waited = time.perf_counter() - began
            shares[of].append(result.receipt.phases["total"] / waited)
            return OwnTime(waited, result)

        times = take_turns(
            rounds,
            {
                "slice": lambda number: year.frame.slice(firsts[number], sizes.window),
                "fetch": lambda number: fetch("fetch", windows[number]),
                "warned": lambda number: fetch("warned", warned[number]),
            },
            warm_up=warm_up,
        )
    beside, slicing = Comparison("us", times["slice"], "slice the frame"), times["slice"].percentile(50)
    return [
        beside.figure("beyond the slice, at random places", times["fetch"], goal=100.0, less=slicing),
        _share("its receipt's total, as a share of the wait", shares["fetch"]),
        beside.figure("beyond the slice, where a warning lies", times["warned"], goal=100.0, less=slicing),
        _share("its receipt's total, as a share of that wait", shares["warned"]),
    ]


def _share(what: str, shares: list[float]) -> Figure:
    return Figure(what, 100 * median(shares), "%", goal=90.0, more_is_better=True)


def _window(first: int, rows: int) -> Span:
    start = scene.YEAR_START + first * MINUTE
    return Span(start, start + rows * MINUTE)


def _spikes(rows: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.linspace(100, rows - 100, _WARNINGS).astype(np.int64)


def _with_spikes(frame: pl.DataFrame) -> pl.DataFrame:
    """A hundred bars, spread evenly, have a high that nobody traded at."""
    high = frame["high"].to_numpy().copy()
    high[_spikes(frame.height)] *= 10
    return frame.with_columns(pl.Series("high", high))
