"""A document made ready for comparison: bounded, copied, its references found, its validator at hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from typing import Any
from urllib.parse import urljoin

from qmtl.foundation.schema.compatibility.json_schema.dialects import Dialect, dialect_of
from qmtl.foundation.schema.compatibility.json_schema.equality import text_of
from qmtl.foundation.schema.compatibility.json_schema.libraries import libraries, specification_of
from qmtl.foundation.schema.compatibility.json_schema.place import Place
from qmtl.foundation.schema.documents import Document
from qmtl.foundation.schema.kept import Kept

# jsonschema descends by recursion, several calls a level; deeper schemas could not be confirmed either.
DEEPEST = 100
# Characters of all documents that are kept; each costs up to fifty bytes once its places are open.
_ROOM = 2 * 2**20
# Schemas that comparisons led to; a document that met so many is opened anew.
_MOST_DERIVED = 2_000


class TooDeepError(Exception):
    """A document is nested more than `DEEPEST` levels deep."""


class AmbiguousReferenceError(Exception):
    """Two documents go by the same address."""


class Opened:
    """One document with all that it refers to. Raises `TooDeepError`, `UnknownDialectError`."""

    def __init__(self, document: Document) -> None:
        _check_depth(document.value)
        self.document = document
        self.text = text_of(document.value)
        # A copy of its own: no two places share an object, and nobody changes it.
        self.value = json.loads(self.text)
        self.dialect = dialect_of(self.value, Dialect.DRAFT_2020_12)
        self.root = Place(self.value, self)
        self.has_references = '"$ref"' in self.text or '"$dynamicRef"' in self.text
        self.has_units = '"x-unit"' in self.signature
        self.derived = 0
        # By identity: the objects live as long as this does.
        self._places: dict[tuple[int, Dialect], Place] = {}
        if isinstance(self.value, dict):
            self._places[id(self.value), self.dialect] = self.root

    @cached_property
    def signature(self) -> str:
        """Equal for documents that are equal together with all that they refer to."""
        parts = [self.text]
        for address, value in sorted(_addresses(self.document, ""), key=lambda pair: pair[0]):
            parts.append(f"{address}\n{text_of(value)}")
        return "\n".join(parts)

    @cached_property
    def registry(self) -> Any:
        """All documents by their addresses. Raises `TooDeepError`, `AmbiguousReferenceError`."""
        referencing, _ = libraries()
        registry = referencing.Registry()
        texts: dict[str, str] = {}
        specification = specification_of(self.dialect)
        for address, value in _addresses(self.document, ""):
            _check_depth(value)
            text = text_of(value)
            if texts.setdefault(address, text) != text:
                raise AmbiguousReferenceError(address)
            contents = json.loads(text)
            resource = referencing.Resource.from_contents(contents, default_specification=specification)
            registry = registry.with_resource(address, resource)
        return registry

    @cached_property
    def resolver(self) -> Any:
        resource = specification_of(self.dialect).create_resource(self.value)
        return self.registry.resolver_with_root(resource)

    def place(self, value: Any, within: Place, resolver: Any = None) -> Place:
        """The one place of `value`, an object of this document or of one it refers to."""
        if not isinstance(value, dict):
            return Place(value, self, within, resolver)
        known = self._places.get((id(value), within.dialect))
        if known is None:
            known = self._places[id(value), within.dialect] = Place(value, self, within, resolver)
        return known


def _addresses(document: Document, base: str) -> Iterator[tuple[str, Any]]:
    own = document.value.get("$id", "") if isinstance(document.value, dict) else ""
    base = urljoin(base, own)
    for name, referred in document.references.items():
        address = urljoin(base, name).split("#")[0]
        yield address, referred.value
        yield from _addresses(referred, address)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise TooDeepError


_opened: Kept[int, Opened] = Kept(_ROOM)


def open_document(document: Document) -> Opened:
    """`document` opened, or as it was opened before: a registry compares the same versions often."""
    known = _opened.get(id(document))
    # An id may be given to another object; the document that was opened is kept, so it cannot be here.
    if known is not None and known.document is document and known.derived <= _MOST_DERIVED:
        return known
    opened = Opened(document)
    _opened.put(id(document), opened, len(opened.text))
    return opened
