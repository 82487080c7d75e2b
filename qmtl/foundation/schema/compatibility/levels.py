"""Which earlier versions a new schema is compared with, and in which direction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from importlib import import_module
from typing import Literal, NamedTuple, TypeAlias

from qmtl.foundation.schema.compatibility.verdict import Problem, Verdict
from qmtl.foundation.schema.documents import Document, SchemaType

Direction: TypeAlias = Literal["backward", "forward"]
Engine: TypeAlias = Callable[[Document, Document], Verdict]


class Level(StrEnum):
    """What a new version must be able to do.

    BACKWARD: it reads what the version before wrote. FORWARD: the version before reads what it writes. FULL:
    both. With _TRANSITIVE this holds for all earlier versions, not for the latest alone.
    """

    NONE = "NONE"
    BACKWARD = "BACKWARD"
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"
    FORWARD = "FORWARD"
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL = "FULL"
    FULL_TRANSITIVE = "FULL_TRANSITIVE"

    @property
    def is_transitive(self) -> bool:
        return self.value.endswith("_TRANSITIVE")

    @property
    def directions(self) -> tuple[Direction, ...]:
        return _DIRECTIONS[self.value.removesuffix("_TRANSITIVE")]


_DIRECTIONS: dict[str, tuple[Direction, ...]] = {
    "NONE": (),
    "BACKWARD": ("backward",),
    "FORWARD": ("forward",),
    "FULL": ("backward", "forward"),
}

_ENGINES = {
    SchemaType.AVRO: "qmtl.foundation.schema.compatibility.avro",
    SchemaType.JSON: "qmtl.foundation.schema.compatibility.json_schema",
}


class Comparison(NamedTuple):
    """A new schema against an earlier version. backward: the new one reads; forward: the earlier one."""

    version: int
    direction: Direction
    verdict: Verdict


class Earlier(NamedTuple):
    """An earlier version, read."""

    version: int
    document: Document


def compare_versions(new: Document, earlier: Sequence[Earlier], level: Level) -> tuple[Comparison, ...]:
    """The comparisons that a level wants, newest version first. `earlier` is in order of versions."""
    chosen = earlier if level.is_transitive else earlier[-1:]
    return tuple(
        Comparison(version, direction, _judge(new, document, direction))
        for version, document in reversed(chosen)
        for direction in level.directions
    )


def _judge(new: Document, earlier: Document, direction: Direction) -> Verdict:
    return judge(earlier, new) if direction == "backward" else judge(new, earlier)


def judge(writer: Document, reader: Document) -> Verdict:
    """Whether all that the writer's schema may write can be read with the reader's."""
    if writer.type is not reader.type:
        return Verdict((_type_changed(writer.type, reader.type),))
    # Engines are loaded when they are used: they need the extra `schemas`.
    engine: Engine = import_module(_ENGINES[writer.type]).compare
    return engine(writer, reader)


def _type_changed(writer: SchemaType, reader: SchemaType) -> Problem:
    return Problem(
        path="",
        rule="schema.type_changed",
        message=f"the writer's schema is {writer} and the reader's is {reader}, which read different bytes;"
        " by a rule of this registry one subject keeps one language, so no instance is shown",
        writer=writer.value,
        reader=reader.value,
    )
