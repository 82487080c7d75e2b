"""From a schema as it is sent to a `Document`: bounded, well formed, and all references followed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from qmtl.foundation.errors import SchemaRegistryError
from qmtl.foundation.schema.documents import Document, Reference, Schema, SchemaType
from qmtl.foundation.schema.json_values import parse
from qmtl.foundation.schema.registry import registry_errors
from qmtl.foundation.schema.wellformed import avro, json_schema

# Bytes of UTF-8. Topics carry messages of 1 MiB by default, and a larger schema was never seen.
MAX_BYTES = 1024 * 1024
# Schemas that refer to schemas that refer to schemas ...
MAX_CHAIN = 32

# How many documents that were read lately are cached: many small ones, and a few large ones.
_SMALL, _MANY, _FEW = 64 * 1024, 512, 4

Find: TypeAlias = Callable[[Reference], Schema]

_CHECKS: dict[SchemaType, Callable[[Any, Mapping[str, Document]], None]] = {
    SchemaType.AVRO: avro.check,
    SchemaType.JSON: json_schema.check,
}


@dataclass(eq=False)
class _Known:
    """A document, hashed by identity and not by content, and whether it was found well formed."""

    document: Document
    is_checked: bool = False


def read(schema: Schema, find: Find) -> Document:
    """A schema that was sent, with all that it refers to, checked to be well formed.

    find: gives the schema of a reference, or raises `SchemaRegistryError` where there is none. Documents are
    cached and shared: never change one.

    Raises `SchemaRegistryError`: 42201 for what is no schema, for a reference that is not there, and for a
    circle of references; 42209 for more than `MAX_BYTES`.
    """
    known = _Walk(find).read(schema)
    if not known.is_checked:
        try:
            _CHECKS[schema.type](known.document.value, known.document.references)
        except ValueError as error:
            raise registry_errors.invalid_schema(str(error)) from error
        known.is_checked = True
    return known.document


def read_registered(schema: Schema, find: Find) -> Document:
    """As `read`, of a schema that was checked when it was registered."""
    return _Walk(find).read(schema).document


def refuse_size(text: str) -> None:
    size = len(text.encode(errors="surrogatepass"))
    if size > MAX_BYTES:
        raise registry_errors.schema_too_large(size, MAX_BYTES)


class _Walk:
    """One walk along references, in which each version is read once, however many ways lead to it."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._above: list[tuple[str, int]] = []
        self._done: dict[tuple[str, int], _Known] = {}

    def read(self, schema: Schema) -> _Known:
        refuse_size(schema.text)
        names: dict[str, _Known] = {}
        for reference in schema.references:
            if reference.name in names:
                raise registry_errors.invalid_schema(f"two references have the name {reference.name!r}")
            names[reference.name] = self._follow(schema, reference)
        build = _small if len(schema.text) <= _SMALL else _large
        try:
            return build(schema.type, schema.text, tuple(names.items()))
        except ValueError as error:
            raise registry_errors.invalid_schema(str(error)) from error

    def _follow(self, schema: Schema, reference: Reference) -> _Known:
        place = (reference.subject, reference.version)
        if place in self._done:
            return self._done[place]
        if place in self._above:
            raise registry_errors.invalid_schema(
                f"its references go in a circle through version {reference.version} of {reference.subject!r}"
            )
        if len(self._above) == MAX_CHAIN:
            raise registry_errors.invalid_schema(
                f"more than {MAX_CHAIN} schemas refer to each other in a row"
            )
        try:
            found = self._find(reference)
        except SchemaRegistryError as error:
            if error.status != 404:
                raise
            raise registry_errors.reference_not_found(reference) from error
        if found.type is not schema.type:
            raise registry_errors.invalid_schema(
                f"it is {schema.type} and refers to {reference.subject!r}, which is {found.type}"
            )
        self._above.append(place)
        self._done[place] = self.read(found)
        self._above.pop()
        return self._done[place]


def _built(kind: SchemaType, text: str, references: tuple[tuple[str, _Known], ...]) -> _Known:
    return _Known(Document(kind, parse(text), {name: known.document for name, known in references}))


_small = lru_cache(maxsize=_MANY)(_built)
_large = lru_cache(maxsize=_FEW)(_built)
