"""A schema as it is sent and stored, and as it is parsed: text, language, references."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple


class SchemaType(StrEnum):
    """The languages that are read: Avro 1.12, and JSON Schema of draft-07 and 2020-12."""

    AVRO = "AVRO"
    JSON = "JSON"


class Reference(NamedTuple):
    """Another registered schema that a schema uses.

    `name` is how its text calls it: the full name of an Avro type, or the URI of a `$ref`.
    """

    name: str
    subject: str
    version: int


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema as it is sent and stored. Its text may be no schema at all."""

    text: str
    type: SchemaType = SchemaType.AVRO
    references: tuple[Reference, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A schema that was read and is well formed, together with all that it refers to.

    value: the JSON value of its text (for Avro: a dict, a list, or the name of a type as a str; for JSON
        Schema: a dict or a bool).
    references: the documents it refers to directly, by `Reference.name`; they have references of their own,
        never in a circle.
    """

    type: SchemaType
    value: Any
    references: Mapping[str, Document] = field(default_factory=dict)
