"""`qmtl presets`: the presets that a world can name, and what each of them settles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qmtl.interfaces.cli.arguments import as_path
from qmtl.interfaces.cli.session import JsonToo, session_of

if TYPE_CHECKING:
    from qmtl.runtime.worlds.catalog import Catalog

Folder = Annotated[
    Path | None,
    typer.Option("--folder", parser=as_path, metavar="DIR", help="Presets of your own, as YAML files."),
]
World = Annotated[
    Path | None,
    typer.Option("--world", parser=as_path, metavar="FILE", help="With those that this world file brings."),
]


def list_presets(
    ctx: typer.Context, folder: Folder = None, world: World = None, json: JsonToo = False
) -> None:
    """Every preset by name, and what it is."""
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.interfaces.cli.tables import Rows

    session = session_of(ctx)
    known = _catalog(folder, world)
    found = []
    for name in known.names:
        line = {"preset": name, "series": None, "meaning": None, "from": known.origin(name), "problem": None}
        try:
            definition = known.get(name).definition
            line |= {"series": definition.series, "meaning": definition.meaning}
        except InvalidRequestError as error:  # of a package of somebody else; the others can be used
            line["problem"] = error.what
        found.append(line)
    rows = [(one["preset"], one["series"], one["from"], one["problem"] or one["meaning"]) for one in found]
    session.show(Rows(("preset", "series", "from", "what it is"), rows, prose=("what it is",)))
    session.emit(found)


def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="PRESET", show_default=False)],
    folder: Folder = None,
    world: World = None,
    json: JsonToo = False,
) -> None:
    """A preset as YAML, with its defaults."""
    import yaml

    session = session_of(ctx)
    preset = _catalog(folder, world).get(name)
    values = preset.definition.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    session.show(f"# from {preset.origin}\n" + yaml.safe_dump(values, sort_keys=False).rstrip())
    session.emit({"from": preset.origin, **values})


def _catalog(folder: Path | None, world: Path | None) -> Catalog:
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.runtime.worlds.catalog import catalog
    from qmtl.runtime.worlds.loading import catalog_of_file

    if world is None:
        return catalog(folder)
    if folder is not None:
        raise InvalidRequestError(
            "--folder and --world are two places", next_step="name one of them: a world names its own folder"
        )
    return catalog_of_file(world)
