"""The smallest value that each type can write, or that it can write none.

A union of nothing writes nothing, and neither does a record that contains itself unconditionally. A record's
value is found once those of its fields are; rounds over the records go on until no value gets smaller.
"""

from __future__ import annotations

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


_PRIMITIVES: dict[str, Any] = {
    "null": None,
    "boolean": False,
    "int": 0,
    "long": 0,
    "float": 0.0,
    "double": 0.0,
    "bytes": b"",
    "string": "",
}
# RFC 4122 is part of the promise of a `uuid`: an empty text would not be a legal value.
_NIL_UUID = "00000000-0000-0000-0000-000000000000"


class SmallestValues:
    """The smallest values of one graph; `of(type)` is None for a type that can write nothing."""

    def __init__(self, graph: Graph) -> None:
        self._records: dict[int, Smallest] = {}
        while sum(map(self._improve, graph.records)):
            pass

    def of(self, type_: Type) -> Smallest | None:
        match type_:
            case Primitive(kind, logical):
                is_uuid = kind == "string" and logical is not None and logical.name == "uuid"
                return Smallest(_NIL_UUID if is_uuid else _PRIMITIVES[kind])
            case Fixed():
                return Smallest(bytes(type_.size))
            case Enum():
                return Smallest(type_.symbols[0]) if type_.symbols else None
            case Array():
                return Smallest([])
            case Map():
                return Smallest({})
            case Union():
                return self._of_union(type_)
            case Record():
                return self._records.get(id(type_))

    def _of_union(self, union: Union) -> Smallest | None:
        best: Smallest | None = None
        name = ""
        for branch in union.branches:
            found = self.of(branch)
            if found is not None and (best is None or found.parts < best.parts):
                best, name = found, branch_name(branch)
        return best and best._replace(value=Chosen(name, best.value))

    def _improve(self, record: Record) -> bool:
        """Whether a smaller value was found than was known before. Strictly smaller, so that rounds end."""
        known = self._records.get(id(record))
        values: dict[str, Any] = {}
        parts, height = 1, 0
        for field in record.fields:
            found = self.of(field.type)
            if found is None:
                return False
            values[field.name] = found.value
            parts += found.parts
            height = max(height, found.height)
        if known is not None and known.parts <= parts:
            return False
        # Values are shared, not copied: even one of 2**1000 parts costs nothing until it is shown.
        self._records[id(record)] = Smallest(values, parts, height + 1)
        return True
