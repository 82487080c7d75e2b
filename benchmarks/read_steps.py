"""python -m benchmarks.read_steps: what a read of 1,000 stored bars consists of, step by step.

Functions on its way are wrapped, and each takes the time of what it calls out of its own. What wrapping takes
is in the figures, so that their sum is more than a fetch that nobody looks at: that stands above them.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import scene
from benchmarks.growth.counting import counting
from benchmarks.wrapping import wrapping
from qmtl.foundation.times import MINUTE
from qmtl.runtime.sdk.provider import SeamlessDataProvider

# Steps, and the functions that they begin with, as the modules that call them know them.
STEPS = {
    "look whether anybody has written": "sdk.commit_watch:CommitWatch.look",
    "make a request": "sdk.fetching:Fetcher.open",
    "plan, ask the cache": "sdk.fetch_executor:FetchExecutor.drive_local sdk.local_tiers:LocalTiers.perform",
    "a transaction": "io.sql.store:SqlStore._read",
    "which commit, which series": "io.sql.store:reading.read",
    "find chunks": "io.sql.pieces:chunks_of",
    "find coverage records": "io.sql.reading:answers_of",
    "find kept flags": "io.sql.reading:_flags",
    "read the bytes of chunks": "io.sql.pieces:packed_of",
    "prove them, find their pages": "io.sql.codec:_proven io.sql.pieces:part_between",
    "unpack pages (pcodec)": "io.sql.paged:_read",
    "numbers become prices": "io.sql.paged:add_neighbours io.sql.paged:to_values",
    "put chunks together": "io.sql.reading:assemble io.sql.blocks:_decode io.sql.blocks:pieces_of",
    "make a frame": "io.store.snapshots:to_frame",
    "cut it to the range": "io.sql.reading:snapshot_of",
    "states of bars": "sdk.local_tiers:evaluate io.evaluate:_evaluated",
    "answer and receipt": "sdk.fetching:Fetcher.answer sdk.result_builder:ResultBuilder.answer",
    "metrics of its time": "sdk.result_builder:ResultBuilder.close",
}
WHOLE, REST = "the fetch, not looked into", "the rest"


def measured(folder: Path, rounds: int) -> dict[str, float]:
    """Microseconds of each step: so many or fewer in a tenth of the rounds, which others disturb least."""
    start = scene.YEAR_START + 10_000 * MINUTE
    with SeamlessDataProvider(folder, vendors={}, cache_bytes=0) as provider:

        def fetch() -> object:
            return provider.fetch(scene.SERIES, start, start + 1_000 * MINUTE)

        fetch()
        time.sleep(1.1)  # from then on flags that were found are kept
        for _ in range(20):
            fetch()
        taken: dict[str, list[int]] = {WHOLE: [_time_of(fetch) for _ in range(rounds)]}
        with _looked_into() as spent:
            for _ in range(rounds):
                spent.clear()
                spent[REST] = _time_of(fetch) - sum(spent.values())
                for step, ns in spent.items():
                    taken.setdefault(step, []).append(ns)
    return {step: sorted(each)[len(each) // 10] / 1_000 for step, each in taken.items()}


@contextmanager
def _looked_into() -> Iterator[Counter[str]]:
    """The time (ns) of each step, without that of steps within."""
    step_of = {f"qmtl.runtime.{path}": step for step, paths in STEPS.items() for path in paths.split()}
    spent: Counter[str] = Counter()
    within = [0]

    def timed(path: str, function: Callable[..., Any]) -> Callable[..., Any]:
        step = step_of[path]

        def call(*values: Any, **named: Any) -> Any:
            outer, within[0] = within[0], 0
            began = time.perf_counter_ns()
            try:
                return function(*values, **named)
            finally:
                took = time.perf_counter_ns() - began
                spent[step] += took - within[0]
                within[0] = outer + took

        return call

    with wrapping(step_of, timed):
        yield spent


def _time_of(work: Callable[[], object]) -> int:
    began = time.perf_counter_ns()
    work()
    return time.perf_counter_ns() - began


def main(rounds: int = 2_000) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scene.fill_store(Path(folder), scene.year_of_bars(100_000))
        steps = measured(Path(folder), rounds)
        start = scene.YEAR_START + 10_000 * MINUTE
        with counting() as counter, SeamlessDataProvider(folder, vendors={}, cache_bytes=0) as provider:
            for _ in range(3):
                counts = counter.count(lambda: provider.fetch(scene.SERIES, start, start + 1_000 * MINUTE))
    print("| step | us |\n| --- | ---: |")
    for step in (WHOLE, *STEPS, REST):
        print(f"| {step} | {steps[step]:.0f} |")
    print(f"\n{counts.calls:,} calls, {counts.steps:,} steps of SQLite, {counts.pages:,} pages")


if __name__ == "__main__":
    main()
