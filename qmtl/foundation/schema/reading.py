"""From a schema as it is sent to a `Document`: bounded, well formed, and all references followed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from qmtl.foundation.errors import SchemaRegistryError
from qmtl.foundation.schema import refusals
from qmtl.foundation.schema.documents import Document, Reference, Schema, SchemaType
from qmtl.foundation.schema.json_values import parse
from qmtl.foundation.schema.wellformed import avro, json_schema

# Bytes of UTF-8. Topics carry messages of 1 MiB by default, and a larger schema was never seen.
MAX_BYTES = 1024 * 1024
# Schemas that refer to schemas that refer to schemas ...
MAX_CHAIN = 32

# Larger texts are read anew each time, so that what is kept in memory stays bounded.
_SMALL = 64 * 1024
_KEPT = 512

Find: TypeAlias = Callable[[Reference], Schema]

_CHECKS: dict[SchemaType, Callable[[Any, Mapping[str, Document]], None]] = {
    SchemaType.AVRO: avro.check,
    SchemaType.JSON: json_schema.check,
}


@dataclass(frozen=True, eq=False)
class _Known:
    """A document, hashed by what it is and not by what it holds."""

    document: Document


def read(schema: Schema, find: Find) -> Document:
    """The schema with all that it refers to. Documents are cached and shared: never change one.

    find: gives the schema of a reference, or raises `SchemaRegistryError` where there is none.

    Raises `SchemaRegistryError`: 42201 for what is no schema, for a reference that is not there, and for a
    circle of references; 42209 for more than `MAX_BYTES`.
    """
    return _read(schema, find, ()).document


def _read(schema: Schema, find: Find, above: tuple[Reference, ...]) -> _Known:
    refuse_size(schema.text)
    if len(above) > MAX_CHAIN:
        raise refusals.invalid_schema(f"more than {MAX_CHAIN} schemas refer to each other in a row")
    names: dict[str, _Known] = {}
    for reference in schema.references:
        if reference.name in names:
            raise refusals.invalid_schema(f"two references have the name {reference.name!r}")
        names[reference.name] = _follow(schema, reference, find, above)
    build = _cached if len(schema.text) <= _SMALL else _built
    try:
        return build(schema.type, schema.text, tuple(names.items()))
    except ValueError as error:
        raise refusals.invalid_schema(str(error)) from error


def refuse_size(text: str) -> None:
    size = len(text.encode(errors="surrogatepass"))
    if size > MAX_BYTES:
        raise refusals.schema_too_large(size, MAX_BYTES)


def _follow(schema: Schema, reference: Reference, find: Find, above: tuple[Reference, ...]) -> _Known:
    if any((each.subject, each.version) == (reference.subject, reference.version) for each in above):
        raise refusals.invalid_schema(
            f"its references go in a circle through version {reference.version} of {reference.subject!r}"
        )
    try:
        found = find(reference)
    except SchemaRegistryError as error:
        if error.status != 404:
            raise
        raise refusals.reference_not_found(reference) from error
    if found.type is not schema.type:
        raise refusals.invalid_schema(
            f"it is {schema.type} and refers to {reference.subject!r}, which is {found.type}"
        )
    return _read(found, find, (*above, reference))


def _built(kind: SchemaType, text: str, references: tuple[tuple[str, _Known], ...]) -> _Known:
    value = parse(text)
    documents = {name: known.document for name, known in references}
    _CHECKS[kind](value, documents)
    return _Known(Document(kind, value, documents))


_cached = lru_cache(maxsize=_KEPT)(_built)
