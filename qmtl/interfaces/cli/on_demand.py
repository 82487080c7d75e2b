"""Commands that are made when they are asked for by name: a call of `qmtl` needs one of some forty."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import Any, TypeAlias

import typer

from qmtl.interfaces.cli.guard import guarded

# By name: the function of this package that performs the command, as `module.function`.
Commands: TypeAlias = Mapping[str, str]
# By name, such as `schema audit`: the meaning of the family, and its commands.
Families: TypeAlias = Mapping[str, tuple[str, Commands]]


class OnDemand(Mapping[str, Any]):
    """The commands and families of a group by name, as typer has them; each is made at its first look-up."""

    def __init__(self, commands: Commands, families: Families, within: str = "") -> None:
        self._makers: dict[str, Callable[[], Any]] = {
            name: partial(_command, name, function) for name, function in commands.items()
        }
        for family in families:
            outer, _, name = family.rpartition(" ")
            if outer == within:
                self._makers[name] = partial(_group, family, families)
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def function_of(command: str) -> Callable[..., None]:
    """The function that performs a command."""
    module, _, name = command.partition(".")
    function: Callable[..., None] = getattr(import_module(f"{__package__}.{module}"), name)
    return function


def _command(name: str, function: str) -> Any:
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name)(guarded(function_of(function)))
    return typer.main.get_command(alone)


def _group(family: str, families: Families) -> Any:
    meaning, commands = families[family]
    name = family.rpartition(" ")[2]
    empty = typer.Typer(name=name, help=meaning, no_args_is_help=True, rich_markup_mode=None)
    group = typer.main.get_group(empty)
    group.commands = OnDemand(commands, families, within=family)  # type: ignore[assignment]  # nothing is added
    return group
