"""Processor time of the steps that a case consists of: where the time of a goal that is missed goes.

    .venv/bin/python -m benchmarks.steps [CASE ...] [--quick]

A step is a function of the package, timed in whichever thread calls it, with all that it calls; so steps that
are indented are parts of the one above. Each number is the least of some rounds: others who are at work on
the machine add to a time, and never take from it. To be timed costs a microsecond for each call.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from benchmarks import scene
from benchmarks.cases import conformance_illiquid
from benchmarks.real_data import is_there
from benchmarks.sizes import FULL, TINY, Sizes
from benchmarks.wrapping import wrapping
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, MINUTE
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.sdk.provider import SeamlessDataProvider

_SQL = "qmtl.runtime.io.sql"
_RULES = "qmtl.runtime.conformance"
# Of each function its module or class, what it does, and how deep it lies in those above.
STEPS: dict[str, tuple[tuple[str, str, int], ...]] = {
    "panel": (
        ("qmtl.runtime.sdk.fetching:Fetcher.opened_cached", "requests, and a look into the cache", 0),
        (f"{_SQL}.store:SqlStore.read_many", "the store", 0),
        (f"{_SQL}.reading:views_of", "what the store knows of the series", 1),
        (f"{_SQL}.reading:_flags", "kept flags", 1),
        (f"{_SQL}.blocks:pieces_of", "which pages are wanted, and the bytes of their chunks", 1),
        (f"{_SQL}.blocks:_decode", "checksums and decoding, on both processors", 1),
        (f"{_SQL}.reading:answers_of", "coverage records", 1),
        (f"{_SQL}.reading:snapshot_of", "snapshots", 1),
        ("qmtl.runtime.io.evaluate:_evaluated", "states", 0),
        ("qmtl.runtime.sdk.fetching:Fetcher.postponed", "what answers are made of, and metrics", 0),
    ),
    "panel_cached": (
        ("qmtl.runtime.sdk.fetching:Fetcher.open", "requests", 0),
        ("qmtl.runtime.io.cache:RangeCache.get", "the cache", 0),
        ("qmtl.runtime.sdk.fetching:Fetcher.postponed", "what answers are made of", 0),
        ("qmtl.foundation.observability.metrics:Metrics.observe_phases", "metrics of phases", 1),
        ("qmtl.foundation.observability.metrics:Metrics.count_answer", "metrics of answers", 1),
    ),
    "one_bar_each": (
        (f"{_SQL}.store:from_small_frames", "frames as arrays", 0),
        (f"{_SQL}.presumed:Presumptions.append_all", "deciding what each adds to what was left behind", 0),
        (f"{_SQL}.database:write_all", "writing the tables", 0),
        (f"{_SQL}.appended_rows:pack_each", "bars as bytes", 1),
        (f"{_SQL}.presumed:Presumptions.follow", "keeping in mind what was left behind", 0),
        (f"{_SQL}.sqlite.directory:StoreDirectory.commit", "SQLite's commit", 0),
    ),
    "bulk_write": (
        (f"{_SQL}.store:SqlStore._prepared_one", "comparing and packing", 0),
        (f"{_SQL}.paged:encode", "packing, on both processors", 1),
        (f"{_SQL}.codec:_come_back", "proving that all comes back, on both processors", 1),
        (f"{_SQL}.store:SqlStore._commit_prepared", "the transaction", 0),
    ),
    "cold_backfill": (
        ("qmtl.runtime.ingest.chunk:screen", "screening pages", 0),
        (f"{_SQL}.store:SqlStore._prepared_one", "comparing and packing", 0),
        (f"{_SQL}.paged:encode", "packing, on both processors", 1),
        (f"{_SQL}.codec:_come_back", "proving that all comes back, on both processors", 1),
        (f"{_SQL}.store:SqlStore._commit_prepared", "transactions", 0),
        ("qmtl.runtime.coordination.local_leases:LocalLeases._claim", "locks of shards: taken", 0),
        ("qmtl.runtime.coordination.local_leases:LocalLeases._free", "locks of shards: freed", 0),
        (f"{_SQL}.blocks:_decode", "reading all of it back, on both processors", 0),
        (f"{_RULES}.pipeline:ConformancePipeline._flag_window", "rules, on both processors", 0),
    ),
    "conformance_illiquid": (
        (f"{_RULES}.row_rules:all_clear", "row rules", 0),
        (f"{_RULES}.grid_rules:off_grid", "the grid, and gaps", 0),
        (f"{_RULES}.rhythm:silences", "silences", 0),
        (f"{_RULES}.outliers:candidates", "which bars stand out", 0),
        (f"{_RULES}.outliers:spikes", "spikes", 0),
        (f"{_RULES}.outliers:jumps", "jumps", 0),
        (f"{_RULES}.runs:stale_runs", "stale runs", 0),
        (f"{_RULES}.runs:padded_bars", "padding", 0),
        (f"{_RULES}.pipeline:ConformancePipeline._block", "rows around a block", 0),
    ),
}
_ROUNDS = 9


class Spent(NamedTuple):
    """Milliseconds of processor time, and how often."""

    ms: float
    calls: int


class Taken:
    """What was spent in each step since `clear`."""

    def __init__(self, steps: tuple[tuple[str, str, int], ...]) -> None:
        self._names = [name for name, _, _ in steps]
        self._lock = Lock()
        self.clear()

    def clear(self) -> None:
        self.spent = dict.fromkeys(self._names, Spent(0.0, 0))

    def add(self, name: str, seconds: float) -> None:
        with self._lock:
            ms, calls = self.spent[name]
            self.spent[name] = Spent(ms + seconds * 1e3, calls + 1)

    @contextmanager
    def timing(self) -> Iterator[None]:
        """With the functions of all steps timed."""
        with wrapping(self._names, self._timed):
            yield

    def _timed(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(plain)
        def timed(*args: Any, **options: Any) -> Any:
            began = time.thread_time()
            try:
                return plain(*args, **options)
            finally:
                self.add(name, time.thread_time() - began)

        return timed


@contextmanager
def panel(sizes: Sizes, folder: Path, cache_bytes: int = 0) -> Iterator[Callable[[int], object]]:
    """A day of many series."""
    names = [scene.series_number(number) for number in range(sizes.panel)]
    with EmbeddedStore(folder / "store") as store:
        for first in range(0, len(names), 50):
            frames = {
                name: scene.year_of_bars(15 * DAY // MINUTE, name) for name in names[first : first + 50]
            }
            store.commit_many({name: scene.write_of(frame) for name, frame in frames.items()})
    texts = [name.text for name in names]
    span = Span(scene.YEAR_START + 7 * DAY, scene.YEAR_START + 8 * DAY)
    with SeamlessDataProvider(folder / "store", vendors={}, cache_bytes=cache_bytes) as provider:
        provider.fetch_many(texts, *span)  # the first one finds the flags that others find kept
        yield lambda _: provider.fetch_many(texts, *span)


@contextmanager
def panel_cached(sizes: Sizes, folder: Path) -> Iterator[Callable[[int], object]]:
    """The same from the cache."""
    with panel(sizes, folder, 1 << 30) as fetch:
        yield fetch


@contextmanager
def one_bar_each(sizes: Sizes, folder: Path) -> Iterator[Callable[[int], object]]:
    """A bar for each of many series, as one commit."""
    series = [scene.series_number(number) for number in range(sizes.panel)]
    day = DAY // MINUTE
    # Before its third one a store presumes nothing.
    first = day + 3
    frames = {one: scene.year_of_bars(first + _ROUNDS, one) for one in series}
    with EmbeddedStore(folder / "store") as store:
        store.commit_many({one: scene.write_of(frame.head(day)) for one, frame in frames.items()})
        bars = [
            {one: scene.write_of(frame.slice(number, 1)) for one, frame in frames.items()}
            for number in range(day, first + _ROUNDS)
        ]
        for _ in range(3):
            store.commit_many(bars.pop(0))
        yield lambda number: store.commit_many(bars[number])


@contextmanager
def bulk_write(sizes: Sizes, folder: Path) -> Iterator[Callable[[int], object]]:
    """A year as one commit."""
    write = scene.write_of(scene.year_of_bars(sizes.year))
    with EmbeddedStore(folder / "store") as store:
        yield lambda number: store.commit(scene.series_number(number), write)


@contextmanager
def cold_backfill(sizes: Sizes, folder: Path) -> Iterator[Callable[[int], object]]:
    """A year from a vendor in memory."""
    frame, span = scene.year_of_bars(sizes.year), scene.span_of(sizes.year)
    providers = [
        SeamlessDataProvider(folder / f"store{number}", vendors=scene.MemoryVendor(frame))
        for number in range(_ROUNDS)
    ]
    yield lambda number: providers[number].fetch(scene.SERIES, *span)
    for provider in providers:
        provider.close()


@contextmanager
def illiquid(sizes: Sizes, folder: Path) -> Iterator[Callable[[int], object]]:
    """The rules on all kinds of illiquid minutes, one after the other."""
    pipeline, grid, facts = ConformancePipeline(), Grid(Timeframe.parse("1m")), SeriesFacts()
    sources = conformance_illiquid.SOURCES.values()
    frames = [conformance_illiquid.tiled(read(), sizes.many // 5) for read in sources]
    yield lambda _: [pipeline.flag(frame, grid=grid, facts=facts) for frame in frames]


CASES: dict[str, Callable[[Sizes, Path], Any]] = {
    "panel": panel,
    "panel_cached": panel_cached,
    "one_bar_each": one_bar_each,
    "bulk_write": bulk_write,
    "cold_backfill": cold_backfill,
    "conformance_illiquid": illiquid,
}


def measured(case: str, sizes: Sizes, folder: Path) -> tuple[float, dict[str, Spent]]:
    """Milliseconds of a whole round, not timed within, and those of each step; the least of some rounds."""
    taken = Taken(STEPS[case])
    whole, least = float("inf"), dict.fromkeys(taken.spent, Spent(float("inf"), 0))
    with CASES[case](sizes, folder) as play:
        for number in range(_ROUNDS):
            if number % 2:
                began = time.process_time()
                play(number)
                whole = min(whole, (time.process_time() - began) * 1e3)
                continue
            taken.clear()
            with taken.timing():
                play(number)
            least = {name: min(least[name], spent) for name, spent in taken.spent.items()}
    return whole, least


def table(case: str, whole: float, spent: dict[str, Spent]) -> str:
    """Markdown."""
    lines = [f"### {case}: {whole:.1f} ms", "", "| step | ms | calls |", "| --- | ---: | ---: |"]
    for name, text, depth in STEPS[case]:
        indented = "&nbsp;&nbsp;" * depth + ("of which " if depth else "") + text
        lines.append(f"| {indented} | {spent[name].ms:.1f} | {spent[name].calls:,} |")
    return "\n".join(lines)


def main() -> None:
    """Print the steps of some cases, or of all."""
    parser = argparse.ArgumentParser(prog="benchmarks.steps", description=__doc__)
    parser.add_argument("cases", nargs="*", choices=[[], *CASES])
    parser.add_argument("--quick", action="store_true", help="tiny sizes: proves that the cases run")
    options = parser.parse_args()
    for case in options.cases or CASES:
        if case == "conformance_illiquid" and not is_there():
            print(f"### {case}: no real market data; set QMTL_TEST_DATA")
            continue
        with tempfile.TemporaryDirectory(prefix="qmtl-steps-") as folder:
            print(table(case, *measured(case, TINY if options.quick else FULL, Path(folder))), "\n")


if __name__ == "__main__":
    main()
