"""A type as an Avro schema again: whole for fastavro, or just enough of it for a person to recognise."""

from __future__ import annotations

from typing import Any

from qmtl.foundation.schema.compatibility.avro.limits import MAX_NESTING, TooDeep
from qmtl.foundation.schema.compatibility.avro.names import namespace_of
from qmtl.foundation.schema.compatibility.avro.types import (
    Array,
    Enum,
    Field,
    Fixed,
    Map,
    Primitive,
    Record,
    Type,
    Union,
    kind_of,
)


def schema_of(type_: Type) -> Any:
    """All that resolution looks at, names in full, each defined where it comes first; no logical types.

    Raises `TooDeep` where a chain of references nests deeper than a library would follow.
    """
    return _schema(type_, set(), 0)


def _schema(type_: Type, defined: set[str], depth: int) -> Any:
    if depth > MAX_NESTING:
        raise TooDeep
    match type_:
        case Primitive():
            return type_.kind
        case Array():
            return {"type": "array", "items": _schema(type_.items, defined, depth + 1)}
        case Map():
            return {"type": "map", "values": _schema(type_.values, defined, depth + 1)}
        case Union():
            return [_schema(branch, defined, depth + 1) for branch in type_.branches]
    if type_.name in defined:
        return type_.name
    defined.add(type_.name)
    named = {"type": kind_of(type_), "name": type_.name, "aliases": list(type_.aliases)}
    if not namespace_of(type_.name):
        named["namespace"] = ""
    match type_:
        case Fixed():
            return named | {"size": type_.size}
        case Enum():
            default = {} if type_.default is None else {"default": type_.default}
            return named | {"symbols": list(type_.symbols)} | default
        case Record():
            return named | {"fields": [_field(field, defined, depth + 1) for field in type_.fields]}


def _field(field: Field, defined: set[str], depth: int) -> dict[str, Any]:
    default = {"default": _flat(field.default[0])} if field.default else {}
    type_ = _schema(field.type, defined, depth)
    return {"name": field.name, "aliases": list(field.aliases), "type": type_} | default


def _flat(default: Any) -> Any:
    """Resolution only asks whether there is a default; its value may nest to any depth."""
    return type(default)() if isinstance(default, list | dict) else default


def piece_of(type_: Type) -> Any:
    """What a person needs to recognise the type: the fields of a record are left out."""
    match type_:
        case Primitive(kind, None, None):
            return kind
        case Primitive():
            return {"type": type_.kind} | _annotations(type_)
        case Fixed():
            return {"type": "fixed", "name": type_.name, "size": type_.size} | _annotations(type_)
        case Enum():
            default = {} if type_.default is None else {"default": type_.default}
            return {"type": "enum", "name": type_.name, "symbols": list(type_.symbols)} | default
        case Record():
            return {"type": "record", "name": type_.name}
        case Array():
            return {"type": "array", "items": piece_of(type_.items)}
        case Map():
            return {"type": "map", "values": piece_of(type_.values)}
        case Union():
            return [piece_of(branch) for branch in type_.branches]


def _annotations(type_: Primitive | Fixed) -> dict[str, Any]:
    logical: dict[str, Any] = {} if type_.logical is None else {"logicalType": type_.logical.name}
    if type_.logical is not None and type_.logical.name == "decimal":
        logical |= {"precision": type_.logical.precision, "scale": type_.logical.scale}
    return logical if type_.unit is None else logical | {"unit": type_.unit}


def words_for(type_: Type) -> str:
    """The type in a sentence: `union of null and record Order`."""
    match type_:
        case Primitive() | Fixed():
            annotations = _annotations(type_).values()
            shape = f"fixed {type_.name} of {type_.size} bytes" if isinstance(type_, Fixed) else type_.kind
            return f"{shape} ({', '.join(map(str, annotations))})" if annotations else shape
        case Array():
            return f"array of {words_for(type_.items)}"
        case Map():
            return f"map of {words_for(type_.values)}"
        case Union():
            return f"union of {' and '.join(map(words_for, type_.branches)) or 'nothing'}"
        case _:
            return f"{kind_of(type_)} {type_.name}"
