"""What every command reads alike: a path is never an empty text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args, get_origin, get_type_hints

import pytest
import typer
from typer.models import ParameterInfo
from typer.testing import CliRunner

from qmtl.interfaces.cli.arguments import as_path
from qmtl.interfaces.cli.main import COMMANDS, FAMILIES, app, options
from qmtl.interfaces.cli.on_demand import function_of

if TYPE_CHECKING:
    from tests.qmtl.command_line import CommandLine

FUNCTIONS = [*COMMANDS.values(), *(one for _, commands in FAMILIES.values() for one in commands.values())]


def paths_of(function: object) -> dict[str, ParameterInfo]:
    """By parameter: how typer reads those that are paths."""
    found = {}
    for name, kind in get_type_hints(function, include_extras=True).items():
        annotated = next((one for one in (kind, *get_args(kind)) if get_origin(one) is Annotated), None)
        if annotated is not None:
            of, info = get_args(annotated)
            if of is Path or Path in get_args(of):
                found[name] = info
    return found


def test_every_path_is_read_alike() -> None:
    found = {
        (function.__name__, name): info.parser
        for function in (options, *map(function_of, FUNCTIONS))
        for name, info in paths_of(function).items()
    }
    assert len(found) > 15
    assert {name for name, parser in found.items() if parser is not as_path} == set()


@pytest.mark.parametrize("text", ["", " ", "\0"])
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        as_path(text)
    assert as_path(".") == Path()


def test_a_variable_that_is_not_set_makes_no_store_here(cli: CommandLine) -> None:
    Path("x.csv").write_text("ts,open,high,low,close,volume\n2024-01-02,2,3,1,2,10\n")
    before = sorted(path.name for path in cli.folder.iterdir())
    words = ("import", "x.csv", "--series", "ohlcv:mine:GOLD:1d")
    for option in ("--store", "--config"):
        result = CliRunner().invoke(app, [option, "", *words])
        assert result.exit_code == 2, result.output
        assert option in result.output
        assert "a path is needed" in " ".join(result.output.split())
    assert sorted(path.name for path in cli.folder.iterdir()) == before
