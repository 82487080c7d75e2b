"""The two dialects, and how each keyword of theirs is read into one common vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any


class Dialect(Enum):
    DRAFT_07 = "http://json-schema.org/draft-07/schema"
    DRAFT_2020_12 = "https://json-schema.org/draft/2020-12/schema"


class UnknownDialectError(Exception):
    """A schema names a dialect that is not read."""


def dialect_of(value: Any, default: Dialect) -> Dialect:
    """The dialect that `$schema` of `value` names. Raises `UnknownDialectError`."""
    if type(value) is not dict or "$schema" not in value:
        return default
    name = str(value["$schema"]).rstrip("#")
    try:
        return Dialect(name)
    except ValueError:
        raise UnknownDialectError(name) from None


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Keywords whose value is taken as it stands.
_PLAIN = _names(
    """
    type enum const minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength pattern
    required minProperties maxProperties minItems maxItems uniqueItems x-unit
    """
)
_PLAIN_2020 = _PLAIN | _names("$ref $dynamicRef dependentRequired minContains maxContains")
# Keywords whose value is one schema, a list of them, or a mapping of names to them.
_ONE = _names("not if then else additionalProperties propertyNames contains")
_ONE_2020 = _ONE | _names("items unevaluatedItems unevaluatedProperties")
_LIST = _names("allOf anyOf oneOf")
_LIST_2020 = _LIST | _names("prefixItems")
_NAMED = _names("properties patternProperties")
_NAMED_2020 = _NAMED | _names("dependentSchemas")

Way = tuple[str | int, ...]


class Schemas(tuple[Way, ...]):
    """Ways to subschemas in a list."""


class NamedSchemas(dict[str, Way]):
    """Ways to subschemas by name."""


class OneSchema(tuple[str | int, ...]):
    """The way to one subschema."""


def keywords(value: Mapping[str, Any], dialect: Dialect) -> Iterator[tuple[str, Any]]:
    """The keywords of a schema that decide what it accepts, under the names of 2020-12.

    Subschemas are given as ways from `value`; annotations and unknown keywords are left out.
    """
    read = _keywords_2020_12 if dialect is Dialect.DRAFT_2020_12 else _keywords_draft_07
    return read(value)


def _keywords_2020_12(value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for keyword, argument in value.items():
        if keyword in _PLAIN_2020:
            yield keyword, argument
        elif keyword in _ONE_2020:
            yield keyword, OneSchema((keyword,))
        elif keyword in _LIST_2020:
            yield keyword, Schemas((keyword, index) for index in range(len(argument)))
        elif keyword in _NAMED_2020:
            yield keyword, NamedSchemas({name: (keyword, name) for name in argument})


def _keywords_draft_07(value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if "$ref" in value:
        # Whatever stands beside a reference is ignored in this dialect (section 8.3 of its core).
        yield "$ref", value["$ref"]
        return
    for keyword, argument in value.items():
        if keyword in _PLAIN:
            yield keyword, argument
        elif keyword in _ONE:
            yield keyword, OneSchema((keyword,))
        elif keyword in _LIST:
            yield keyword, Schemas((keyword, index) for index in range(len(argument)))
        elif keyword in _NAMED:
            yield keyword, NamedSchemas({name: (keyword, name) for name in argument})
        elif keyword == "items" and isinstance(argument, list):
            yield "prefixItems", Schemas(("items", index) for index in range(len(argument)))
            if "additionalItems" in value:
                yield "items", OneSchema(("additionalItems",))
        elif keyword == "items":
            yield "items", OneSchema(("items",))
        elif keyword == "dependencies":
            names = {name: one for name, one in argument.items() if isinstance(one, list)}
            yield "dependentRequired", names
            yield (
                "dependentSchemas",
                NamedSchemas({name: (keyword, name) for name in argument if name not in names}),
            )
