"""`qmtl world`: what a world file asks for, what it would take, and doing it."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmtl.interfaces.cli.arguments import as_path
from qmtl.interfaces.cli.session import JsonToo, Session, session_of

if TYPE_CHECKING:
    from qmtl.foundation.errors import QmtlError
    from qmtl.interfaces.cli.progress import Bars
    from qmtl.runtime.ingest.backfill_result import Progress as Backfilled
    from qmtl.runtime.sdk.provider import SeamlessDataProvider
    from qmtl.runtime.sdk.world_plan import Applied, WorldPlan
    from qmtl.runtime.worlds.world import World

File = Annotated[
    Path, typer.Argument(parser=as_path, metavar="FILE", help="A world file.", show_default=False)
]


def validate(ctx: typer.Context, file: File, json: JsonToo = False) -> None:
    """Whether a world file can be used.

    The first slip is told with file, line, column and the nearest name. What 'qmtl world plan' would refuse
    is refused here as well; nobody is asked for bars.
    """
    from qmtl.foundation.words import counted
    from qmtl.runtime.sdk.world_plan import check_world

    session = session_of(ctx)
    world = session.world(file)
    with _provider(session, world, make=False) as provider:
        check_world(provider, world)
    session.show(
        f"{file}: the world {world.id} has {counted(len(world.presets), 'preset')} "
        f"of {len(world.series):,} series together"
    )
    session.emit(_head(world))


def show(ctx: typer.Context, file: File, json: JsonToo = False) -> None:
    """Everything that follows from a world file, presets resolved."""
    from qmtl.interfaces.cli.showing import facts_text
    from qmtl.interfaces.cli.world_showing import cell, resolved

    session = session_of(ctx)
    world = session.world(file)
    values = [resolved(preset) for preset in world.presets]
    parts = [f"world {world.id}"]
    parts += [facts_text((name, cell(value)) for name, value in one.items()) for one in values]
    session.show("\n\n".join(parts))
    session.emit({**_head(world), "presets": values})


def plan(ctx: typer.Context, file: File, json: JsonToo = False) -> None:
    """What would be fetched, and at what cost.

    From where, how many bars and requests, how long at the rate budget, how much disk; and how ready it is.
    Asks no vendor, and writes nothing.
    """
    from qmtl.interfaces.cli.world_showing import plan_json, plan_parts

    session = session_of(ctx)
    world = session.world(file)
    with _provider(session, world, make=False) as provider:
        found = _planned(provider, world)
    session.show(*plan_parts(found))
    session.emit(plan_json(found))


def apply(
    ctx: typer.Context,
    file: File,
    detach: Annotated[
        bool, typer.Option("--detach", help="Queue it for workers ('qmtl worker'), and wait for nothing.")
    ] = False,
    json: JsonToo = False,
) -> None:
    """Fetch what the histories of a world lack.

    Afterwards it says how ready the world is. Ctrl-C ends it at any time; what was committed stays, and the
    next run goes on from there. Where the SLA preset welcomes partial answers, a series that fails stops no
    other, and is no failure of the command.
    """
    from qmtl.foundation.errors import QmtlError
    from qmtl.interfaces.cli.guard import error_json, report_error
    from qmtl.interfaces.cli.progress import Bars
    from qmtl.interfaces.cli.world_showing import applied_json, applied_parts, plan_json, readiness_rows
    from qmtl.runtime.sdk.world_plan import apply_preset

    session = session_of(ctx)
    world = session.world(file)
    if detach:
        from qmtl.interfaces.cli.detach import detach_world

        with _provider(session, world, make=True) as provider:
            detach_world(session, provider, world)
        return
    done: list[Applied] = []
    failures: list[QmtlError] = []
    with _provider(session, world, make=True) as provider:
        with Bars() as bars:
            for preset in world.presets:
                try:
                    done.append(apply_preset(provider, preset, _OneBar(bars, preset.id).backfilled))
                except QmtlError as error:  # other presets have policies of their own
                    failures.append(error)
        after = _planned(provider, world)
    session.show(*applied_parts(done), readiness_rows(after))
    codes = [report_error(session, error) for error in failures]
    session.emit(
        {
            **plan_json(after),
            "applied": [applied_json(session, one) for one in done],
            "failures": [error_json(session, error) for error in failures],
        }
    )
    if codes:
        raise typer.Exit(codes[0])


def list_worlds(
    ctx: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(parser=as_path, metavar="FOLDER", help="Where to look; without it, this folder."),
    ] = None,
    json: JsonToo = False,
) -> None:
    """The world files of a folder.

    Those that cannot be used are listed with what is wrong.
    """
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.interfaces.cli.tables import Rows
    from qmtl.interfaces.cli.world_showing import cell

    session, folder = session_of(ctx), folder or Path()
    if not folder.is_dir():
        raise InvalidRequestError(f"{folder} is no folder", next_step="name the folder of the world files")
    found = [one for path in sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")]) for one in _listed(path)]
    columns = ("world", "file", "presets", "series", "problem")
    if found:
        session.show(
            Rows(columns, ([cell(one[name]) for name in columns] for one in found), prose=("problem",))
        )
    else:
        session.show(f"no world file in {folder.resolve()}")
    session.emit(found)


def schema(ctx: typer.Context, json: JsonToo = False) -> None:
    """The JSON Schema of world files, for editors."""
    from json import dumps

    from qmtl.runtime.worlds.world_file import schema as world_schema

    typer.echo(dumps(world_schema(), indent=2))


def _head(world: World) -> dict[str, Any]:
    return {
        "world": world.id,
        "file": str(world.path),
        "presets": [preset.id for preset in world.presets],
        "series": [series.text for series in world.series],
    }


def _listed(path: Path) -> list[dict[str, Any]]:
    """One line for a world file; none for other YAML."""
    from qmtl.foundation.config_text import yaml_of
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.runtime.worlds.loading import load_world

    line: dict[str, Any] = {
        "world": None,
        "file": str(path),
        "presets": None,
        "series": None,
        "problem": None,
    }
    try:
        data, _ = yaml_of(path, "world")
        if not isinstance(data, dict) or "world" not in data:
            return []
        world = load_world(path)
    except InvalidRequestError as error:
        return [{**line, "problem": error.what}]
    return [{**line, "world": world.id, "presets": len(world.presets), "series": len(world.series)}]


class _OneBar:
    """How far all series of an input are together: a bar for each of ten thousand would be none."""

    def __init__(self, bars: Bars, name: str) -> None:
        self._bars = bars
        self._name = f"{name} bars"
        self._parts: dict[str, Backfilled] = {}
        self._done = self._total = 0
        self._guard = Lock()

    def backfilled(self, progress: Backfilled) -> None:
        """For `on_progress` of backfills; may be called from any thread."""
        with self._guard:
            before = self._parts.get(progress.series.text)
            self._parts[progress.series.text] = progress
            self._done += progress.done - (before.done if before else 0)
            self._total += progress.total - (before.total if before else 0)
            self._bars.advance(self._name, self._done, self._total)


def _provider(session: Session, world: World, *, make: bool) -> SeamlessDataProvider:
    """As the settings and the world say. Without `make`, a store that is not there is not made either."""
    from qmtl.foundation.observability.metrics import Unread
    from qmtl.runtime.io.store.memory import MemoryStore
    from qmtl.runtime.sdk.from_world import provider_of_world
    from qmtl.runtime.sdk.stores import is_store

    settings = session.settings()
    instead = {} if make or is_store(settings.seamless.store) else {"store": MemoryStore()}
    return provider_of_world(world, settings, progress=False, metrics_registry=Unread(), **instead)


def _planned(provider: SeamlessDataProvider, world: World) -> WorldPlan:
    from qmtl.interfaces.cli.progress import Bars
    from qmtl.runtime.sdk.world_plan import plan_world

    with Bars() as bars:
        return plan_world(provider, world, lambda done, total: bars.advance("series", done, total))
