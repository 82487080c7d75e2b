"""Whether a type can write anything, and the smallest value that it can write.

A union of nothing writes nothing, and neither does a record that contains itself unconditionally. A record is
known once its fields are, so rounds over the records find them all.
"""

from __future__ import annotations

from threading import Lock
from typing import Any, NamedTuple

from qmtl.foundation.schema.compatibility.avro.types import (
    Array,
    Enum,
    Fixed,
    Graph,
    Map,
    Primitive,
    Record,
    Type,
    Union,
    branch_name,
)


class Chosen(NamedTuple):
    """A value of a union, with the branch that it belongs to; fastavro takes such pairs when it writes."""

    branch: str
    value: Any


class Smallest(NamedTuple):
    """`parts` counts the values within, `height` how deep they nest."""

    value: Any
    parts: int = 1
    height: int = 1


_PRIMITIVES = {
    "null": Smallest(None),
    "boolean": Smallest(False),
    "int": Smallest(0),
    "long": Smallest(0),
    "float": Smallest(0.0),
    "double": Smallest(0.0),
    "bytes": Smallest(b""),
    "string": Smallest(""),
}
# RFC 4122 is part of the promise of a `uuid`: an empty text would not be a legal value.
_NIL_UUID = Smallest("00000000-0000-0000-0000-000000000000")


class SmallestValues:
    """The values of one graph. Values are looked for at the first question: most pairs have no problem.

    Safe from any thread. Values are shared: never change one.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._lock = Lock()
        self._writable: set[int] = set()
        self._records: dict[int, Smallest] = {}
        while sum(map(self._becomes_writable, graph.records)):
            pass

    def can_write(self, type_: Type) -> bool:
        """Whether there is any value of the type."""
        if isinstance(type_, Record):
            return id(type_) in self._writable
        if isinstance(type_, Union):
            return any(map(self.can_write, type_.branches))
        return not isinstance(type_, Enum) or bool(type_.symbols)

    def of(self, type_: Type) -> Smallest:
        """Raises `LookupError` for a type that can write nothing."""
        with self._lock:
            if not self._records:
                # No smallest value holds a record within itself, so as many rounds as there are records do.
                for _ in self._graph.records:
                    if not sum(map(self._improves, self._graph.records)):
                        break
        return self._of(type_)

    def _becomes_writable(self, record: Record) -> bool:
        if id(record) in self._writable or not all(self.can_write(field.type) for field in record.fields):
            return False
        self._writable.add(id(record))
        return True

    def _of(self, type_: Type) -> Smallest:
        match type_:
            case Primitive(kind, logical):
                is_uuid = kind == "string" and logical is not None and logical.name == "uuid"
                return _NIL_UUID if is_uuid else _PRIMITIVES[kind]
            case Fixed():
                return Smallest(bytes(type_.size))
            case Enum():
                return Smallest(type_.symbols[0])
            case Array():
                return Smallest([])
            case Map():
                return Smallest({})
            case Union():
                return self._of_union(type_)
            case Record():
                return self._records[id(type_)]

    def _of_union(self, union: Union) -> Smallest:
        """Of the branch with the fewest parts, the first of equals."""
        found = [(self._of(branch), branch) for branch in union.branches if self._is_known(branch)]
        (value, parts, height), branch = min(found, key=lambda pair: pair[0].parts)
        return Smallest(Chosen(branch_name(branch), value), parts, height)

    def _is_known(self, type_: Type) -> bool:
        """Whether a value was found already; what can be written is known after some rounds."""
        if isinstance(type_, Record):
            return id(type_) in self._records
        if isinstance(type_, Union):
            return any(map(self._is_known, type_.branches))
        return self.can_write(type_)

    def _improves(self, record: Record) -> bool:
        """Whether a smaller value was found than was known before. Strictly smaller, so that rounds end."""
        if not all(self._is_known(field.type) for field in record.fields):
            return False
        values = {field.name: self._of(field.type) for field in record.fields}
        parts = 1 + sum(value.parts for value in values.values())
        known = self._records.get(id(record))
        if known is not None and known.parts <= parts:
            return False
        height = 1 + max((value.height for value in values.values()), default=0)
        # Values are shared, not copied: even one of 2**1000 parts costs nothing until it is shown.
        whole = {name: value.value for name, value in values.items()}
        self._records[id(record)] = Smallest(whole, parts, height)
        return True
