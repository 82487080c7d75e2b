"""From a document to the graph of its types: names in full, units handed down to the values they describe."""

from __future__ import annotations

from typing import Any

from qmtl.foundation.schema.compatibility.avro.limits import MAX_NESTING, TooDeep
from qmtl.foundation.schema.compatibility.avro.logical import logical_type
from qmtl.foundation.schema.compatibility.avro.names import (
    defined_name,
    full_aliases,
    full_name,
    namespace_of,
)
from qmtl.foundation.schema.compatibility.avro.types import (
    PRIMITIVES,
    Array,
    Enum,
    Field,
    Fixed,
    Graph,
    Map,
    Named,
    Primitive,
    Record,
    Type,
    Union,
    is_settled,
)
from qmtl.foundation.schema.documents import Document

_PLAIN = {name: Primitive(name) for name in PRIMITIVES}


def understand(document: Document) -> Graph:
    """Raises `TooDeep`, and `ValueError` or `KeyError` where the document is no Avro schema after all."""
    reading = _Reading()
    return Graph(reading.document(document), tuple(reading.records))


class _Reading:
    """One pass over a document and all it refers to; a name keeps the meaning it is given first."""

    def __init__(self) -> None:
        self.names: dict[str, Named] = {}
        self.records: list[Record] = []

    def document(self, document: Document, depth: int = 0) -> Type:
        for name, referred in document.references.items():
            if name not in self.names:
                self.document(referred, _deeper(depth))
        return self.type(document.value, "", None, depth)

    def type(self, value: Any, namespace: str, unit: str | None, depth: int) -> Type:
        if isinstance(value, str):
            return self._called(value, namespace, unit)
        depth = _deeper(depth)
        if isinstance(value, list):
            return Union(tuple([self.type(branch, namespace, unit, depth) for branch in value]))
        kind = value["type"]
        unit = _unit(value) or unit
        if kind == "array":
            return Array(self.type(value["items"], namespace, unit, depth))
        if kind == "map":
            return Map(self.type(value["values"], namespace, unit, depth))
        if kind == "record":
            return self._record(value, namespace, depth)
        if kind == "enum":
            name = defined_name(value, namespace)
            enum = Enum(name, full_aliases(value, name), tuple(value["symbols"]), value.get("default"))
            return self._define(name, enum)
        if kind == "fixed":
            name = defined_name(value, namespace)
            logical = logical_type(value)
            return self._define(name, Fixed(name, full_aliases(value, name), value["size"], logical, unit))
        if isinstance(kind, str) and kind in PRIMITIVES:
            return Primitive(kind, logical_type(value), unit)
        return self.type(kind, namespace, unit, depth)

    def _called(self, name: str, namespace: str, unit: str | None) -> Type:
        if name in PRIMITIVES:
            return _PLAIN[name] if unit is None or name == "null" else Primitive(name, None, unit)
        named = self.names.get(full_name(name, namespace)) or self.names.get(name)
        if named is None:
            raise ValueError(f"the type {name!r} is not defined before it is used")
        return named._replace(unit=unit) if unit and isinstance(named, Fixed) else named

    def _record(self, value: dict[str, Any], namespace: str, depth: int) -> Type:
        name = defined_name(value, namespace)
        record = Record(name, full_aliases(value, name))
        if self._define(name, record) is not record:
            return self.names[name]
        inner = namespace_of(name)
        for field in value["fields"]:
            type_ = self.type(field["type"], inner, _unit(field), depth)
            aliases = tuple(field["aliases"]) if "aliases" in field else ()
            default = (field["default"],) if "default" in field else ()
            record.fields.append(Field(field["name"], aliases, type_, default, is_settled(type_)))
        record.by_name.update((field.name, field) for field in record.fields)
        self.records.append(record)
        return record

    def _define(self, name: str, type_: Named) -> Named:
        return self.names.setdefault(name, type_)


def _unit(declaration: dict[str, Any]) -> str | None:
    """The property `unit` of a type or of a field; it describes the values within, up to the next record."""
    unit = declaration.get("unit")
    return unit if isinstance(unit, str) else None


def _deeper(depth: int) -> int:
    if depth >= MAX_NESTING:
        raise TooDeep
    return depth + 1
