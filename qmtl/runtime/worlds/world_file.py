"""A world file as it is written: which presets, for which symbols, and what overrides their defaults."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.sections import Section, Text
from qmtl.runtime.worlds.definition import Name, PresetDefinition
from qmtl.runtime.worlds.parts import LivePart, SeamlessPart, WindowPart

VERSION = 1


def _symbol(value: object) -> object:
    if not isinstance(value, str):
        raise InvalidRequestError(
            f"a symbol is read as {value!r}, which is no text",
            why="without quotes YAML takes ON and NO for true and false, and digits for a number",
            next_step="write it in quotes",
        )
    return value


Symbol = Annotated[str, BeforeValidator(_symbol), Field(min_length=1), WithJsonSchema({"type": "string"})]


class UniversePart(Section):
    """Which symbols, as they stand in node ids."""

    symbols: Annotated[tuple[Symbol, ...], Field(min_length=1)]

    @field_validator("symbols")
    @classmethod
    def _each_once(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        twice = [symbol for symbol, count in Counter(symbols).items() if count > 1]
        if twice:
            raise InvalidRequestError(
                f"the symbol {twice[0]!r} is named twice", next_step="leave one of them out"
            )
        return symbols


class PresetEntry(Section):
    """One input of the world: a preset for a universe, under an id of its own.

    timeframe: only where the preset leaves it open. The other sections override the defaults of the preset.
    """

    id: Name
    preset: Text
    universe: UniversePart
    timeframe: Text | None = None
    window: WindowPart = WindowPart()
    seamless: SeamlessPart = SeamlessPart()
    live: LivePart = LivePart()


class DataPart(Section):
    """The data of a world.

    preset_folder: a folder of further presets, one a YAML file; a relative path starts at the world file.
    definitions: further presets, here.
    """

    presets: Annotated[tuple[PresetEntry, ...], Field(min_length=1)]
    preset_folder: Text | None = None
    definitions: tuple[PresetDefinition, ...] = ()


class WorldPart(Section):
    """A world: its id, and its data."""

    id: Name
    data: DataPart


class WorldFile(Section):
    """All of a world file. `version` is that of its form."""

    version: Literal[1] = 1
    world: WorldPart


def schema() -> dict[str, Any]:
    """The JSON Schema of a world file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **WorldFile.model_json_schema(),
        "title": "qmtl world",
    }
