"""`qmtl submit`: a strategy of a file is run over history."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmtl.interfaces.cli.arguments import as_path
from qmtl.interfaces.cli.session import JsonToo, Session, instant, session_of

if TYPE_CHECKING:
    from qmtl.runtime.sdk.provider import SeamlessDataProvider
    from qmtl.runtime.worlds.world import World


def submit(
    ctx: typer.Context,
    strategy: Annotated[
        str, typer.Argument(metavar="FILE[:CLASS]", help="A file of Python, and a strategy in it.")
    ],
    start: Annotated[str, typer.Option(metavar="WHEN", help="The first bar that is delivered opens then.")],
    end: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Up to, and without; left out, the newest closed bar.")
    ] = None,
    world: Annotated[
        Path | None, typer.Option(parser=as_path, metavar="FILE", help="A world file: its presets give bars.")
    ] = None,
    data_preset: Annotated[
        str | None, typer.Option(metavar="ID", help="The preset of inputs that name none.")
    ] = None,
    mode: Annotated[
        str, typer.Option(metavar="backtest|paper", help="Of history alone; or on, as a feed brings bars.")
    ] = "backtest",
    feed: Annotated[
        Path | None,
        typer.Option(parser=as_path, metavar="STORE", help="For paper: its bars come as they close."),
    ] = None,
    speed: Annotated[float, typer.Option(help="Of the feed: how many seconds pass in one.")] = 1.0,
    knowledge: Annotated[
        str, typer.Option(metavar="as_of|as_known", help="Bars of one commit, or as known at their time.")
    ] = "as_of",
    as_of: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Read bars as they were stored then; ask nobody.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random numbers that the strategy draws.")] = 0,
    budget: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="What the strategy may take for one moment.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(parser=as_path, metavar="FILE", help="Keep the run there, and go on with it."),
    ] = None,
    isolate: Annotated[
        bool, typer.Option("--isolate", help="Run it in a process that can read no bars itself; Linux.")
    ] = False,
    proof: Annotated[
        Path | None, typer.Option(parser=as_path, metavar="FILE", help="Write the proof there, as JSON.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(parser=as_path, metavar="FILE", help="Write a page with plots there: HTML.")
    ] = None,
    json: JsonToo = False,
) -> None:
    """Run a strategy of a file over history.

    With a feed, bars of another store are played to it as if they closed now, and stored.

    Without a world its inputs name their series, which the store of the settings and their vendors have.
    """
    from qmtl.foundation.errors import StrategyError
    from qmtl.interfaces.cli.bar_output import check_place
    from qmtl.interfaces.cli.outputs import check_apart
    from qmtl.interfaces.cli.showing import facts_text
    from qmtl.runtime.sdk.runner import Runner
    from qmtl.runtime.sdk.strategy_files import strategy_of_file

    session = session_of(ctx)
    check_apart({"--proof": proof, "--report": report, "--world": world, "--resume": resume})
    for place in (proof, report):
        if place is not None:
            check_place(place)
    # What is isolated is not even loaded here.
    made = strategy if isolate else strategy_of_file(strategy)
    declared = None if world is None else session.world(world)
    submitted: dict[str, Any] = {
        "strategy": strategy,
        "world": world and str(world),
        "data_preset": data_preset,
    }
    try:
        with ExitStack() as stack:
            more = {} if feed is None else stack.enter_context(replayed(session, feed, start, speed))
            provider = stack.enter_context(provider_of(session, declared, **more))
            result = Runner.submit(
                made,
                world=declared,
                data_preset=data_preset,
                history_provider=provider,
                mode=mode,
                start=instant(start),
                end=instant(end),
                knowledge=knowledge,
                as_of=instant(as_of),
                seed=seed,
                budget=budget,
                resume=resume,
                isolate=isolate,
            )
    except StrategyError as error:
        if error.alone:
            error.next_step = f"run this bar alone: {_command(session, submitted | error.alone)}"
        raise
    if proof is not None:
        from json import dumps

        # What was submitted is no part of the proof; 'qmtl replay verify' finds it there.
        values = {**result.proof.to_json(), "submitted": submitted}
        proof.write_text(dumps(values, indent=2) + "\n", encoding="utf-8")
    if report is not None:
        report.write_text(result.to_html(), encoding="utf-8")
    session.show(facts_text(result.summary().lines()))
    session.emit({"figures": result.figures._asdict(), "proof": result.proof.to_json()})


def _command(session: Session, options: dict[str, Any]) -> str:
    """A command of this kind, for a shell."""
    words = ["qmtl"]
    for name, value in (("config", session.config), ("store", session.store)):
        words += [] if value is None else [f"--{name}", str(value)]
    words += ["submit", options["strategy"]]
    for name, value in options.items():
        is_option = name != "strategy" and value is not None
        words += [f"--{name.replace('_', '-')}", str(value)] if is_option else []
    return shlex.join(words)


def provider_of(session: Session, world: World | None, **more: Any) -> SeamlessDataProvider:
    """As the settings say, and the world, if there is one. more: of the provider."""
    from qmtl.foundation.observability.metrics import Unread

    more = {"progress": False, "metrics_registry": Unread(), **more}
    settings = session.settings()
    if world is None:
        from qmtl.runtime.sdk.from_settings import provider_options
        from qmtl.runtime.sdk.provider import SeamlessDataProvider

        return SeamlessDataProvider(**{**provider_options(settings), **more})
    from qmtl.runtime.sdk.from_world import provider_of_world

    return provider_of_world(world, settings, **more)


@contextmanager
def replayed(session: Session, feed: Path, start: str, speed: float) -> Iterator[dict[str, Any]]:
    """A feed of the bars of another store, and a clock that begins at `start`, for a provider."""
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.runtime.io.feeds.replay import ReplayClock, ReplayFeed
    from qmtl.runtime.sdk.stores import embedded_store

    own = session.settings().seamless.store
    if isinstance(own, Path) and own.resolve() == feed.resolve():
        raise InvalidRequestError(
            f"--feed {feed} is the store of the run itself",
            why="what is fed is stored there as it comes",
            next_step="name another store for the run: qmtl --store PLACE submit ...",
        )
    clock = ReplayClock(instant(start), speed)
    with embedded_store(feed, read_only=True) as store:
        yield {"live": ReplayFeed(store, clock), "clock": clock}
