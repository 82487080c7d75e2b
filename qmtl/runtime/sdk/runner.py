"""Runs a strategy over history, and says what came of it with a proof of what it was given."""

from __future__ import annotations

from typing import Any

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import LATEST, iso, to_ns
from qmtl.runtime.replay.events import Reader
from qmtl.runtime.replay.orders import FillModel
from qmtl.runtime.replay.run import Run
from qmtl.runtime.sdk.proof import proof_of
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.run_history import completed, sources, stretches
from qmtl.runtime.sdk.run_result import RunResult
from qmtl.runtime.sdk.strategy import Strategy, inputs_of, nodes_of


class Runner:
    """Where strategies are run."""

    @staticmethod
    def submit(
        strategy: Strategy | type[Strategy],
        *,
        history_provider: SeamlessDataProvider | None = None,
        start: Any,
        end: Any,
        fills: FillModel | None = None,
    ) -> RunResult:
        """Run a strategy over the bars that open within `[start, end)`.

        strategy: a subclass of `Strategy`, or an instance of one.
        history_provider: where bars of inputs come from that name no provider of their own.
        start, end: anything that `to_ns` reads.
        fills: how orders are filled; left out, at the next open, without fees, from a cash of 100,000.

        What is missing of history, and of the bars before `start` that windows need, is asked for first. Then
        all of it is read at one commit, which the proof names. Raises what a fetch raises, `MissingDataError`
        also where there are too few bars before `start`, and `StrategyError` where the strategy fails.
        """
        made = strategy() if isinstance(strategy, type) else strategy
        if not isinstance(made, Strategy):
            raise InvalidRequestError(
                f"{strategy!r} is no strategy",
                next_step="give a subclass of qmtl.Strategy, or an instance of one",
            )
        inputs = inputs_of(made)
        if not inputs:
            raise InvalidRequestError(
                f"{type(made).__name__} has no input",
                next_step="give its class one: price = qmtl.StreamInput(series)",
            )
        span, model = _range(start, end), FillModel() if fills is None else fills
        histories = [completed(source, span) for source in sources(inputs, history_provider)]
        # In the order of inputs, whichever provider they come from: it decides on ties.
        grids = {series: grid for history in histories for series, grid in history.grids.items()}
        grids = {series: grids[series] for one in inputs for series in one.series}
        nodes = nodes_of(made)
        readers = [
            Reader(
                one.name,
                one.series,
                one.window,
                {node.name: node.value for node in nodes if node.source is one},
            )
            for one in inputs
        ]
        run = Run(
            made, readers, grids, model, start=span.start, gaps=[gap for one in histories for gap in one.gaps]
        )
        read = []
        made.__dict__["_run"] = run
        try:
            for stretch in stretches(histories, span):
                run.play(stretch.rows, LATEST if stretch.until == span.end else stretch.until)
                read.append(stretch)
        finally:
            del made.__dict__["_run"]
        outcome = run.outcome
        return RunResult(outcome, model, proof_of(made, span, model, read, outcome))


def _range(start: Any, end: Any) -> Span:
    first, last = to_ns(start, name="start"), to_ns(end, name="end")
    if last <= first:
        raise InvalidRequestError(
            f"start {iso(first)} does not come before end {iso(last)}", next_step="a range is [start, end)"
        )
    return Span(first, last)
