"""A document made ready for comparison: bounded, copied, its references found, its validator at hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from typing import Any
from urllib.parse import urljoin

from qmtl.foundation.schema.bounded_cache import BoundedCache
from qmtl.foundation.schema.compatibility.json_schema.dialects import Dialect, dialect_of
from qmtl.foundation.schema.compatibility.json_schema.equality import text_of
from qmtl.foundation.schema.compatibility.json_schema.libraries import libraries, specification_of
from qmtl.foundation.schema.compatibility.json_schema.node import SchemaNode
from qmtl.foundation.schema.documents import Document

# jsonschema descends by recursion, several calls a level; deeper schemas could not be confirmed either.
DEEPEST = 100
# Characters of all documents that are kept; each costs up to fifty bytes once its nodes exist.
_ROOM = 2 * 2**20
# So many schemas may be derived from a document in comparisons before it is made ready anew.
_MOST_DERIVED = 2_000


class TooDeepError(Exception):
    """A document is nested more than `DEEPEST` levels deep."""


class AmbiguousReferenceError(Exception):
    """Two documents have the same address."""


class SchemaDocument:
    """One document with all that it refers to. Raises `TooDeepError`, `UnknownDialectError`."""

    def __init__(self, document: Document) -> None:
        _check_depth(document.value)
        self.source = document
        self.text = text_of(document.value)
        # A copy of its own: no two nodes share an object, and nobody changes it.
        self.value = json.loads(self.text)
        self.dialect = dialect_of(self.value, Dialect.DRAFT_2020_12)
        self.root = SchemaNode(self.value, self)
        self.has_references = '"$ref"' in self.text or '"$dynamicRef"' in self.text
        self.has_units = '"x-unit"' in self.signature
        self.derived = 0
        # By identity: the objects live as long as this does.
        self._nodes: dict[tuple[int, Dialect], SchemaNode] = {}
        if isinstance(self.value, dict):
            self._nodes[id(self.value), self.dialect] = self.root

    @cached_property
    def signature(self) -> str:
        """Equal for documents that are equal together with all that they refer to."""
        parts = [self.text]
        for address, value in sorted(_addresses(self.source, ""), key=lambda pair: pair[0]):
            parts.append(f"{address}\n{text_of(value)}")
        return "\n".join(parts)

    @cached_property
    def registry(self) -> Any:
        """All documents by their addresses. Raises `TooDeepError`, `AmbiguousReferenceError`."""
        referencing, _ = libraries()
        registry = referencing.Registry()
        texts: dict[str, str] = {}
        specification = specification_of(self.dialect)
        for address, value in _addresses(self.source, ""):
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

    def node(self, value: Any, within: SchemaNode, resolver: Any = None) -> SchemaNode:
        """The one node of `value`, an object of this document or of one it refers to."""
        if not isinstance(value, dict):
            return SchemaNode(value, self, within, resolver)
        known = self._nodes.get((id(value), within.dialect))
        if known is None:
            known = self._nodes[id(value), within.dialect] = SchemaNode(value, self, within, resolver)
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


_documents: BoundedCache[int, SchemaDocument] = BoundedCache(_ROOM)


def open_document(document: Document) -> SchemaDocument:
    """`document` made ready, or what was made of it before: a registry compares the same versions often."""
    known = _documents.get(id(document))
    # An id may be given to another object; the document it was made of is kept alive, so it cannot be here.
    if known is not None and known.source is document and known.derived <= _MOST_DERIVED:
        return known
    opened = SchemaDocument(document)
    _documents.put(id(document), opened, len(opened.text))
    return opened
