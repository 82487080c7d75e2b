"""Runs a strategy over history, and says what came of it with a proof of what it was given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from os import PathLike
from typing import Any

import numpy as np

from qmtl.foundation.arguments import check_file, check_flag
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import iso, to_ns
from qmtl.runtime.replay.orders import FillModel
from qmtl.runtime.sdk.bound_inputs import BoundInput, bound, preset_of
from qmtl.runtime.sdk.from_world import provider_of_world
from qmtl.runtime.sdk.isolation.process import isolated
from qmtl.runtime.sdk.look_ahead import submitting
from qmtl.runtime.sdk.paper import Paper
from qmtl.runtime.sdk.played_run import played
from qmtl.runtime.sdk.proof import KNOWLEDGE, Proof
from qmtl.runtime.sdk.proof_check import refuse_differences
from qmtl.runtime.sdk.proof_reading import read_proof
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.run_arguments import (
    check_choice,
    check_places,
    loaded,
    loaded_sets,
    model_of,
    seed_of,
)
from qmtl.runtime.sdk.run_history import Source, completed, end_of, sources
from qmtl.runtime.sdk.run_parts import AsKnown, AsOf
from qmtl.runtime.sdk.run_result import RunResult
from qmtl.runtime.sdk.run_state import StateFile, identity_of
from qmtl.runtime.sdk.shared_history import SharedHistory
from qmtl.runtime.sdk.strategy import Strategy, inputs_of, nodes_of
from qmtl.runtime.sdk.watchdog import check_budget
from qmtl.runtime.worlds.loading import load_world
from qmtl.runtime.worlds.world import World

# What is there, and what is refused with its reason.
_MODES = {
    "backtest": None,
    "paper": None,
    "live": "there are no feeds of exchanges yet, and no orders leave this process",
}
_KNOWLEDGE = dict.fromkeys(KNOWLEDGE)


class Runner:
    """Where strategies are run."""

    @staticmethod
    def submit(
        strategy: Strategy | type[Strategy] | str,
        *,
        world: World | str | PathLike[str] | None = None,
        data_preset: str | None = None,
        history_provider: SeamlessDataProvider | None = None,
        mode: str = "backtest",
        start: Any,
        end: Any = None,
        knowledge: str = "as_of",
        as_of: Any = None,
        fills: FillModel | None = None,
        seed: int = 0,
        budget: float | None = None,
        resume: str | PathLike[str] | None = None,
        isolate: bool = False,
    ) -> RunResult:
        """Run a strategy over the bars that open within `[start, end)`.

        strategy: a subclass of `Strategy`, an instance of one, or a file: "cross.py", "cross.py:Cross".
        world: a world file. Its presets say which series inputs have, who serves them, and by which policies.
        data_preset: the preset of inputs that name neither one nor series.
        history_provider: where bars come from, but for inputs that have a provider of their own; left out,
            the one that the world describes, with the store that qmtl.yml names.
        mode: "backtest"; "paper": history up to now, and then each bar as the live feeds of its provider
            bring it, up to `end`, or until all feeds have ended; nothing is ordered anywhere. "live" is
            refused.
        knowledge: "as_of": all bars are as one commit has them. "as_known": each comes when it was known, and
            as it was known; what changed later is a `Revision`, when it did. The run ends with what is known
            at `end`.
        start, end: anything that `to_ns` reads. `end=None` is behind the newest bar that has closed in all
            series, and that no preset holds back.
        as_of: a commit time; bars are read as they were stored then, and nobody is asked. Left out, what is
            missing is asked for first, and the newest commit after that is taken.
        fills: how orders are filled; left out, at the next open, without fees, from a cash of 100,000.
        seed: of `strategy.random`.
        budget: seconds that the strategy may take for one moment, a function of a node for one window, and
            all expressions for the rows that are read at once (200,000). Once they are over, up to twice as
            long, the run ends with a `StrategyError`.
        resume: a file in which the run is kept: at its start, and after each 20,000 bars if 5 seconds have
            passed. Where it is there, the run goes on with it, on the same commits and to the same end, and
            comes to the same proof. Python must be able to pickle what the strategy has in its attributes.
        isolate: run it in a process of its own that can read no file but programs, write none, start no
            program and open no connection. A strategy of a file is not even loaded in this process. Refused
            where the system cannot do it: it takes Linux with Landlock. Such a run is not kept: no `resume`.

        All of history, and of the bars before `start` that windows and warm-up need, is read at one commit,
        which the proof names. Raises what a fetch raises, `MissingDataError` also where there are too few
        bars before `start`, and `StrategyError` where the strategy fails.
        """
        check_places(world, data_preset, history_provider)
        check_choice("mode", mode, _MODES)
        check_choice("knowledge", knowledge, _KNOWLEDGE)
        check_budget(budget)
        check_file("resume", resume)
        check_flag("isolate", isolate)
        model, seed = model_of(fills), seed_of(seed)
        pinned = None if as_of is None else to_ns(as_of, name="as_of")
        if mode == "paper" and (pinned is not None or knowledge != "as_of"):
            raise InvalidRequestError(
                "a run in paper mode is given bars as they come",
                next_step="leave out `as_of=` and `knowledge=`; a backtest takes them",
            )
        if isolate and resume is not None:
            raise InvalidRequestError(
                "a run in a process of its own is not kept",
                why="what would be kept lies in that process, and unpickling it here could run any code",
                next_step="leave out `isolate`, or `resume`",
            )
        return _submitted(
            strategy, world, data_preset, history_provider, start=start, end=end, as_of=pinned, model=model,
            seed=seed, knowledge=knowledge, budget=budget, resume=resume, mode=mode, isolate=isolate,
        )  # fmt: skip

    @staticmethod
    def sweep(
        strategy: Callable[..., Strategy | type[Strategy]],
        parameters: Iterable[Mapping[str, Any]],
        *,
        world: World | str | PathLike[str] | None = None,
        data_preset: str | None = None,
        history_provider: SeamlessDataProvider | None = None,
        start: Any,
        end: Any = None,
        as_of: Any = None,
        fills: FillModel | None = None,
        seed: int = 0,
        budget: float | None = None,
    ) -> Iterator[RunResult]:
        """Run a strategy with several sets of parameters over the same history, which is read once.

        strategy: called with each set. A class, whose `__init__` takes them; or a function that gives an
            instance, or a class with windows and nodes that depend on them.
        parameters: keywords of that call, set by set.

        The other parameters are those of `submit`. The results come in the order of the sets, each when its
        run has ended, and are what `submit` would give for this set. All bars stay in memory until the end.
        """
        check_places(world, data_preset, history_provider)
        check_budget(budget)
        model, seed = model_of(fills), seed_of(seed)
        pinned = None if as_of is None else to_ns(as_of, name="as_of")
        with ExitStack() as stack:
            with submitting():
                made = loaded_sets(strategy, parameters)
                if not made:
                    return
                inputs = _bound(made, world, data_preset, history_provider, stack)
                found = sources([one for of in inputs for one in of], pinned)
                span = _range(start, end, found)
                shared = SharedHistory([completed(source, span) for source in found], span)
            for one, own in zip(made, inputs, strict=True):
                one.__dict__["random"] = np.random.default_rng(seed)
                with submitting():
                    result = played(one, own, shared.of(own), model, seed, budget)
                yield result

    @staticmethod
    def verify(
        proof: Proof | Mapping[str, Any] | str | PathLike[str],
        strategy: Strategy | type[Strategy] | str,
        *,
        world: World | str | PathLike[str] | None = None,
        data_preset: str | None = None,
        history_provider: SeamlessDataProvider | None = None,
        isolate: bool = False,
    ) -> RunResult:
        """Run a strategy once more on what a proof names, and compare what it was given and came to.

        proof: of a run, its JSON values, or a file of them. The other parameters are those of `submit`, as
        they were then; range, commits, fills and seed are those of the proof, and nobody is asked for bars.

        Raises `ProofError` with all differences, and otherwise what `submit` raises: bars that retention has
        swept, for one, cannot be read again. Versions, schemas and accepted findings may differ from those of
        the proof where the same bars led to the same end.
        """
        check_places(world, data_preset, history_provider)
        check_flag("isolate", isolate)
        proven = read_proof(proof)
        found = _submitted(
            strategy, world, data_preset, history_provider, start=proven.span.start, end=proven.span.end,
            as_of={SeriesId.parse(part.series): part.as_of for part in proven.read},
            model=proven.fills, seed=proven.seed, knowledge=proven.known.mode, isolate=isolate,
        )  # fmt: skip
        refuse_differences(proven, found.proof)
        return found


def _submitted(
    strategy: Strategy | type[Strategy] | str,
    world: World | str | PathLike[str] | None,
    data_preset: str | None,
    history_provider: SeamlessDataProvider | None,
    *,
    start: Any,
    end: Any,
    as_of: Mapping[SeriesId, int] | int | None,
    model: FillModel,
    seed: int,
    knowledge: str,
    budget: float | None = None,
    resume: str | PathLike[str] | None = None,
    mode: str = "backtest",
    isolate: bool = False,
) -> RunResult:
    with submitting(), ExitStack() as stack:
        made, process = stack.enter_context(isolated(strategy)) if isolate else (loaded(strategy), None)
        (inputs,) = _bound([made], world, data_preset, history_provider, stack)
        state = None
        if resume is not None:
            times = {"start": start, "end": end, "as_of": as_of}
            submitted = {name: value and to_ns(value, name=name) for name, value in times.items()}
            submitted |= {"seed": seed, "knowledge": knowledge, "mode": mode}
            state = StateFile(resume, identity_of(made, model, **submitted))
        made.__dict__["random"] = np.random.default_rng(seed)
        given: AsOf | AsKnown | Paper
        if mode == "paper":
            kept = None if state is None else state.state()
            given = stack.enter_context(
                Paper(
                    sources(inputs, None),
                    to_ns(start, name="start"),
                    None if end is None else to_ns(end, name="end"),
                    since=0 if kept is None else kept.place.part,
                )
            )
        else:
            if state is not None and state.found is not None:
                as_of = {SeriesId.parse(name): at for name, at in state.found.as_of.items()}
                end = state.found.end
            found = sources(inputs, as_of)
            span = _range(start, end, found)
            histories = [completed(source, span) for source in found]
            given = (AsKnown if knowledge == "as_known" else AsOf)(histories, span)
        return played(made, inputs, given, model, seed, budget, state, process)


def _bound(
    made: Sequence[Strategy],
    world: World | str | PathLike[str] | None,
    data_preset: str | None,
    provider: SeamlessDataProvider | None,
    stack: ExitStack,
) -> list[list[BoundInput]]:
    """The inputs of each strategy. A provider that has to be made for them is closed with `stack`."""
    for of in made:
        if not inputs_of(of):
            raise InvalidRequestError(
                f"{type(of).__name__} has no input",
                next_step="give its class one: price = qmtl.StreamInput(series)",
            )
    declared = None if world is None else load_world(world)
    if declared is None and data_preset is not None:
        raise InvalidRequestError(
            f"there is no world that has the preset {data_preset!r}", next_step="give `world=` as well"
        )
    chosen = [[(one, preset_of(one, declared, data_preset)) for one in inputs_of(of)] for of in made]
    if provider is None and declared and any(one.history_provider is None for of in chosen for one, _ in of):
        provider = stack.enter_context(provider_of_world(declared))
    return [
        [bound(one, nodes_of(of), preset, provider) for one, preset in inputs]
        for of, inputs in zip(made, chosen, strict=True)
    ]


def _range(start: Any, end: Any, found: Sequence[Source]) -> Span:
    first = to_ns(start, name="start")
    last = min(end_of(source, first) for source in found) if end is None else to_ns(end, name="end")
    if last <= first:
        raise InvalidRequestError(
            f"start {iso(first)} does not come before end {iso(last)}", next_step="a range is [start, end)"
        )
    return Span(first, last)
