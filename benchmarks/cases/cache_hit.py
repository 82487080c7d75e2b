"""A cache hit for any sub-range of 1,000 bars, with receipt."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks import scene
from benchmarks.figures import Comparison, Figure
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import calls_of, take_turns
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import MINUTE, iso
from qmtl.runtime.sdk.provider import SeamlessDataProvider


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """Beyond the slice of the frame: with times as int nanoseconds, and as ISO texts."""
    frame = scene.year_of_bars(sizes.year)
    scene.fill_store(folder / "store", frame)
    rounds, warm_up = 4 * sizes.quick_rounds, min(100, sizes.quick_rounds)
    draw = np.random.default_rng(7)
    firsts = draw.integers(0, sizes.year - sizes.window, calls_of(rounds, warm_up=warm_up)).tolist()
    windows = [Span(a, a + sizes.window * MINUTE) for a in (scene.YEAR_START + f * MINUTE for f in firsts)]
    texts = [(iso(start), iso(end)) for start, end in windows]
    name = scene.SERIES.text
    with SeamlessDataProvider(folder / "store", vendors={}) as provider:
        year = provider.fetch(name, *scene.span_of(sizes.year)).frame
        hit = provider.fetch(name, *windows[0])
        if not hit.frame.equals(year.slice(firsts[0], sizes.window)):
            raise AssertionError("the cache answers other bars than the slice holds")
        times = take_turns(
            rounds,
            {
                "slice": lambda number: year.slice(firsts[number], sizes.window),
                "ints": lambda number: provider.fetch(name, *windows[number]),
                "texts": lambda number: provider.fetch(name, *texts[number]),
            },
            warm_up=warm_up,
        )
    beside, slicing = Comparison("us", times["slice"], "slice the frame"), times["slice"].percentile(50)
    return [
        beside.figure("beyond the slice, times as int nanoseconds", times["ints"], goal=20.0, less=slicing),
        beside.figure("beyond the slice, times as ISO texts", times["texts"], less=slicing),
        beside.figure("beyond the slice, p99", times["ints"], percent=99, less=slicing),
    ]
