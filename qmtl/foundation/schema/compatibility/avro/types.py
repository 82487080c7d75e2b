"""What an Avro schema says once its names are resolved: a graph of types, recursive where the schema is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})


class Logical(NamedTuple):
    """A logical type that is valid on its base type, or one that is not known (then `known` is False)."""

    name: str
    known: bool
    precision: int = 0
    scale: int = 0


class Primitive(NamedTuple):
    """`unit` is the declared unit of its values, of the type itself or of the field that holds it."""

    kind: str
    logical: Logical | None = None
    unit: str | None = None


class Fixed(NamedTuple):
    """`name` and `aliases` are full names, here and in the other named types."""

    name: str
    aliases: tuple[str, ...]
    size: int
    logical: Logical | None = None
    unit: str | None = None


class Enum(NamedTuple):
    name: str
    aliases: tuple[str, ...]
    symbols: tuple[str, ...]
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Array:
    """No tuple, as an array of a type would be equal to a map of it."""

    items: Type


@dataclass(frozen=True, slots=True)
class Map:
    values: Type


class Union(NamedTuple):
    branches: tuple[Type, ...]


class Field(NamedTuple):
    """`default` is a tuple of one JSON value, or empty: null is a default too.

    is_settled: there is nothing to report of this field and another of an equal type (`is_settled`).
    """

    name: str
    aliases: tuple[str, ...]
    type: Type
    default: tuple[Any, ...]
    is_settled: bool = False


@dataclass(eq=False, slots=True)
class Record:
    """The only type that is compared by identity and filled late: it may contain itself."""

    name: str
    aliases: tuple[str, ...]
    fields: list[Field] = field(default_factory=list)
    by_name: dict[str, Field] = field(default_factory=dict)


Type = Primitive | Fixed | Enum | Array | Map | Union | Record
Named = Record | Enum | Fixed


class Graph(NamedTuple):
    """A whole schema. `records` are all its records and those it refers to, inner ones before outer ones."""

    root: Type
    records: tuple[Record, ...]


def is_settled(type_: Type) -> bool:
    """Whether there is nothing to report of two such types that are equal: true of most fields."""
    match type_:
        case Primitive() | Enum() | Fixed():
            return True
        case Array(inner) | Map(inner):
            return is_settled(inner)
        case Union():
            kinds = {branch.kind for branch in type_.branches if isinstance(branch, Primitive)}
            return len(kinds) == len(type_.branches) and not kinds >= {"bytes", "string"}
    return False


def kind_of(type_: Type) -> str:
    """The name of the type as the specification's schemas have it: `int`, `record`, `union`."""
    return type_.kind if isinstance(type_, Primitive) else type(type_).__name__.lower()


def branch_name(type_: Type) -> str:
    """How the JSON encoding names this branch of a union: its full name, or the name of its type."""
    return type_.name if isinstance(type_, Record | Enum | Fixed) else kind_of(type_)
