"""Which types match at all: the first half of "Schema Resolution" in the Avro 1.12 specification.

A match is shallow: records match by name, whatever their fields. Arrays and maps match as their items and
values do; a union on either side matches, and is judged branch by branch later.
"""

from __future__ import annotations

from qmtl.foundation.schema.compatibility.avro.names import same_name
from qmtl.foundation.schema.compatibility.avro.types import (
    Array,
    Enum,
    Fixed,
    Map,
    Primitive,
    Record,
    Type,
    Union,
)

# "The writer's schema may be promoted to the reader's as follows."
PROMOTIONS: dict[str, frozenset[str]] = {
    "int": frozenset({"long", "float", "double"}),
    "long": frozenset({"float", "double"}),
    "float": frozenset({"double"}),
    "string": frozenset({"bytes"}),
    "bytes": frozenset({"string"}),
}
_NONE: frozenset[str] = frozenset()


def matches(writer: Type, reader: Type) -> bool:
    """Whether the two match, so that the writer's values are resolved by the reader's type."""
    if isinstance(writer, Union) or isinstance(reader, Union):
        return True
    match writer, reader:
        case Primitive(), Primitive():
            return writer.kind == reader.kind or reader.kind in PROMOTIONS.get(writer.kind, _NONE)
        case Record(), Record():
            return same_name(writer, reader)
        case Enum(), Enum():
            return same_name(writer, reader)
        case Fixed(), Fixed():
            return writer.size == reader.size and same_name(writer, reader)
        case Array(), Array():
            return matches(writer.items, reader.items)
        case Map(), Map():
            return matches(writer.values, reader.values)
        case _:
            return False


def chosen_branch(writer: Type, reader: Union) -> Type | None:
    """The first schema in the reader's union that matches the writer's (which is no union itself)."""
    return next((branch for branch in reader.branches if matches(writer, branch)), None)
