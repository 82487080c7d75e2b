"""Judge a thousand series again on two processes, against a loop."""

from __future__ import annotations

import os
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from benchmarks import scene
from benchmarks.figures import Comparison, Figure
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import take_turns
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, MINUTE
from qmtl.runtime.conformance.universe import UniverseReport
from qmtl.runtime.coordination.engine_runs import process_pool
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.sdk.provider import SeamlessDataProvider

_DAYS = 90
# Series that are written in one transaction.
_AT_ONCE = 25
_GOAL = 1.6


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """Minute bars of three months each, judged in a loop, which is the floor, and by two processes.

    The loop decodes on all processors as well. What it takes on one says what there is to be gained.
    """
    names = [scene.series_number(number) for number in range(sizes.panel)]
    rows = _DAYS * DAY // MINUTE
    with EmbeddedStore(folder / "store") as store:
        for first in range(0, len(names), _AT_ONCE):
            some = names[first : first + _AT_ONCE]
            store.commit_many({name: scene.write_of(scene.year_of_bars(rows, name)) for name in some})
    span = scene.span_of(rows)
    with SeamlessDataProvider(folder / "store", vendors={}) as provider, process_pool(2) as pool:
        judge = partial(_judge, provider, [name.text for name in names], span)
        times = take_turns(
            max(1, sizes.rounds // 5),
            {
                "loop": lambda _: judge(None),
                "on one": lambda _: _on_one_processor(judge),
                "processes": lambda _: judge(pool),
                "with their start": lambda _: _started(judge),
            },
        )
    beside = Comparison("s", times["loop"], "the loop")
    loop = beside.in_unit(times["loop"].percentile(50))
    return [
        beside.figure("the loop on one processor", times["on one"]),
        beside.figure("processes:2", times["processes"], goal=loop / _GOAL),
        beside.figure("processes:2, with their start", times["with their start"], goal=loop / _GOAL),
    ]


def _on_one_processor(judge: partial[UniverseReport]) -> UniverseReport:
    """Threads that begin meanwhile are bound to it as well."""
    all_of_them = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(all_of_them)})
    try:
        return judge(None)
    finally:
        os.sched_setaffinity(0, all_of_them)


def _started(judge: partial[UniverseReport]) -> UniverseReport:
    with process_pool(2) as pool:
        return judge(pool)


def _judge(
    provider: SeamlessDataProvider, names: list[str], span: Span, executor: Executor | None
) -> UniverseReport:
    report = provider.revalidate(names, *span, executor)
    if not report.passes or report.states["present"] != len(names) * span.length // MINUTE:
        raise RuntimeError(repr(report))
    return report
