"""A document made ready once: the graph of its types, its smallest values, and what fastavro made of it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from qmtl.foundation.errors import MissingDependencyError
from qmtl.foundation.schema.bounded_cache import BoundedCache
from qmtl.foundation.schema.compatibility.avro.rendering import schema_of
from qmtl.foundation.schema.compatibility.avro.smallest import SmallestValues
from qmtl.foundation.schema.compatibility.avro.understanding import understand
from qmtl.foundation.schema.documents import Document

# Fields of all documents that are kept; some hundred bytes each.
_ROOM = 100_000


class SchemaDocument:
    """One document with all that it refers to. Raises as `understand`."""

    def __init__(self, document: Document) -> None:
        self.source = document
        self.graph = understand(document)
        self.smallest = SmallestValues(self.graph)

    @property
    def size(self) -> int:
        return 1 + sum(1 + len(record.fields) for record in self.graph.records)

    @cached_property
    def rendered(self) -> Any:
        """All that resolution looks at, as a schema. Raises `TooDeep`."""
        return schema_of(self.graph.root)

    @cached_property
    def parsed(self) -> Any:
        """fastavro's own form of it, wrapped in a record; None where fastavro does not know a name.

        A name without a namespace, referred to from within one, is unknown to fastavro: it cannot be asked.
        Raises `TooDeep`, `MissingDependencyError`.
        """
        try:
            from fastavro import parse_schema
            from fastavro.schema import UnknownType
        except ImportError:
            raise MissingDependencyError("fastavro", extra="schemas") from None
        try:
            return parse_schema(_in_record(self.rendered))
        except UnknownType:
            return None


def _in_record(schema: Any) -> Any:
    """In a record of one field, as fastavro would read a bare union anew at each question.

    No Avro type can have its name, for the spaces in it.
    """
    return {"type": "record", "name": "an instance", "fields": [{"name": "value", "type": schema}]}


_documents: BoundedCache[int, SchemaDocument] = BoundedCache(_ROOM)


def open_document(document: Document) -> SchemaDocument:
    """`document` made ready, or what was made of it before: a registry compares the same versions often."""
    known = _documents.get(id(document))
    # An id may be given to another object; the document it was made of is kept alive, so it cannot be here.
    if known is not None and known.source is document:
        return known
    opened = SchemaDocument(document)
    _documents.put(id(document), opened, opened.size)
    return opened
