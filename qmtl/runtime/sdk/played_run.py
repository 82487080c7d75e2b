"""One run of a strategy over what it is given: from its bars to its result, with the proof of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import numpy as np

from qmtl.foundation.errors import StrategyError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import iso
from qmtl.foundation.words import counted
from qmtl.runtime.replay.bars import Unclean
from qmtl.runtime.replay.budget import OverBudget
from qmtl.runtime.replay.orders import FillModel
from qmtl.runtime.replay.readers import Reader
from qmtl.runtime.replay.run import Run
from qmtl.runtime.sdk.bound_inputs import BoundInput
from qmtl.runtime.sdk.isolation.process import IsolatedRun, StrategyProcess
from qmtl.runtime.sdk.look_ahead import playing, running
from qmtl.runtime.sdk.paper import Paper
from qmtl.runtime.sdk.proof import KnownBars, ReadRange, proof_of, read_ranges
from qmtl.runtime.sdk.run_history import Stretch
from qmtl.runtime.sdk.run_keeper import RunKeeper
from qmtl.runtime.sdk.run_parts import AsKnown, AsOf
from qmtl.runtime.sdk.run_result import RunResult
from qmtl.runtime.sdk.run_state import Header, StateFile
from qmtl.runtime.sdk.strategy import Strategy, listens, weights_of
from qmtl.runtime.sdk.watchdog import Calls, watched


def played(
    strategy: Strategy,
    inputs: Sequence[BoundInput],
    given: AsOf | AsKnown | Paper,
    model: FillModel,
    seed: int,
    budget: float | None,
    state: StateFile | None = None,
    process: StrategyProcess | None = None,
) -> RunResult:
    """Deliver all that is `given` to the strategy, in this process or in that of its own.

    state: where the run is kept, and gone on with. budget: in seconds. Raises `StrategyError` where the
    strategy fails, or takes longer.
    """
    histories, span = given.histories, given.span
    by_series = {series: grid for history in histories for series, grid in history.grids.items()}
    # In the order of inputs, whichever provider they come from: it decides on ties.
    grids = {series: by_series[series] for one in inputs for series in one.series}
    spare = {series: given.spare(series) for series in grids}
    calls = Calls()
    run: Run | IsolatedRun
    keeper = None
    read: list[ReadRange] = []
    unclean: list[Unclean] = []
    stores = [history.source.provider.store for history in histories]
    folders = [store.folder for store in stores if store.folder is not None]
    if process is None:
        readers = [Reader(one.name, one.series, one.window, calls.counted(one.nodes)) for one in inputs]
        run = Run(
            strategy, readers, grids, model, start=span.start, spare=spare,
            weights=weights_of(strategy), listens=listens(strategy),
        )  # fmt: skip
        if state is not None:
            commits = {series.text: history.as_of for history in histories for series in history.grids}
            header = Header(commits, span.end)
            keeper = RunKeeper(state, header, run, strategy, read, time.monotonic, isinstance(given, Paper))
        strategy.__dict__["_run"] = run
    else:
        for folder in folders:
            process.reach.check_apart(folder)
        run = process.run(inputs, grids, model, start=span.start, spare=spare, budget=budget, seed=seed)
    try:
        with running() if process is None else nullcontext():
            for number, (part, until, stretch) in enumerate(given.parts()):
                left = [(part, until)] if keeper is None else keeper.pieces(number, part, until)
                for piece in left:
                    if process is not None:
                        run.play(*piece)  # the other process watches and guards
                        continue
                    with watched(budget, lambda: (run.now, calls.count)), playing(folders):
                        run.play(*piece)
                read += read_ranges(stretch)
                unclean += _with_findings(stretch)
    except StrategyError as error:
        if error.series is not None:
            grid = grids[SeriesId.parse(error.series)]
            error.alone = {
                "start": iso(error.bar_ts),
                "end": iso(int(grid.ends(np.array([error.bar_ts]))[0])),
                "as_of": max(history.as_of for history in histories),
            }
            error.next_step = "run this bar alone: " + ", ".join(
                f"`{name}={value}`" for name, value in error.alone.items()
            )
        raise
    except OverBudget as late:
        raise StrategyError(
            f"{type(strategy).__name__} took longer than {budget:g} s",
            why=f"bars were prepared, or delivered, after {iso(run.now)}",
            next_step="give more as `budget=`, or windows that are shorter",
            bar_ts=run.now,
        ) from late
    finally:
        strategy.__dict__.pop("_run", None)
    known = KnownBars(given.name, given.counts, given.digest)
    gaps = [*given.missed, *(gap for history in histories for gap in history.gaps)]
    unclean += [Unclean(gap.series.text, gap.span, gap.why) for gap in gaps]
    outcome = run.outcome
    proof = proof_of(strategy, given.span, model, seed, read, known, outcome)
    return RunResult(outcome, model, proof, sorted(unclean, key=lambda one: (one.span, one.series)))


def _with_findings(stretch: Stretch) -> Iterator[Unclean]:
    """A finding names its first and last bar, and a few between them."""
    for name, findings in stretch.findings.items():
        for one in findings:
            step = SeriesId.parse(name).timeframe.step
            span = Span(one.first_ts, one.last_ts + step)
            yield Unclean(name, span, f"{one.rule}, {counted(one.raises, 'bar')}")
