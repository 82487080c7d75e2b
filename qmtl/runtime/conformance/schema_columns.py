"""The columns that a JSON Schema or an Avro schema describes, as a `RegisteredSchema`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from qmtl.foundation.words import counted
from qmtl.runtime.conformance.registered_schema import NO_BOUNDS, Bounds, Column, RegisteredSchema

DataType = pl.DataType | type[pl.DataType]

_INTEGERS: tuple[DataType, ...] = (
    pl.Int64,
    pl.Int32,
    pl.Int16,
    pl.Int8,
    pl.UInt64,
    pl.UInt32,
    pl.UInt16,
    pl.UInt8,
)
# A JSON Schema integer with a unit of time is a datetime column of that unit.
_TIMES: Mapping[str, DataType] = {unit: pl.Datetime(unit, "UTC") for unit in ("ns", "us", "ms")}
_JSON_TYPES: Mapping[str, tuple[DataType, ...]] = {
    "number": (pl.Float64, pl.Float32, *_INTEGERS),
    "integer": (*_INTEGERS, *_TIMES.values()),
    "string": (pl.String, pl.Categorical, pl.Enum),
    "boolean": (pl.Boolean,),
}
_AVRO_TYPES: Mapping[str, tuple[DataType, ...]] = {
    "double": (pl.Float64,),
    "float": (pl.Float32,),
    "long": (pl.Int64,),
    "int": (pl.Int32,),
    "string": (pl.String,),
    "boolean": (pl.Boolean,),
    "bytes": (pl.Binary,),
}
_AVRO_TIMES: Mapping[str, DataType] = {
    "timestamp-nanos": _TIMES["ns"],
    "timestamp-micros": _TIMES["us"],
    "timestamp-millis": _TIMES["ms"],
    "date": pl.Date(),
}
_DTYPE_NAMES: Mapping[str, DataType] = {
    **{f"Datetime({unit}, UTC)": dtype for unit, dtype in _TIMES.items()},
    **{
        dtype.__name__: dtype()
        for dtype in (pl.Float64, pl.Float32, pl.Int64, pl.Int32, pl.String, pl.Boolean, pl.Date)
    },
}
# What JSON Schema calls annotations, and ours: they restrict nothing, or are read elsewhere.
_ANNOTATIONS = frozenset(
    {
        *("$schema", "$id", "$comment", "$defs", "definitions", "$anchor", "title", "description", "default"),
        *("examples", "deprecated", "readOnly", "writeOnly", "format", "contentEncoding", "contentMediaType"),
        *("contentSchema", "x-dtype", "x-unit"),
    }
)
_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_CHECKED_KEYWORDS = frozenset({"type", "enum", "const", *_LIMITS})


def parse_registered_schema(
    subject: str, version: int, value: Any, *, language: str, id: int | None = None
) -> RegisteredSchema:
    """A schema's value (parsed JSON) as a `RegisteredSchema`.

    language: "JSON" or "AVRO". What cannot be checked on a column is listed in `unchecked`, never
    silently left out; a schema that does not describe a row at all is unchecked as a whole.
    """
    unchecked: list[str] = []
    parse: Callable[[Any, list[str]], tuple[list[Column], bool]] = (
        _avro_columns if language == "AVRO" else _json_columns
    )
    columns, closed = parse(value, unchecked)
    return RegisteredSchema(subject, version, tuple(columns), closed, tuple(unchecked), id)


# -- JSON Schema -----------------------------------------------------------------------------------------


def _json_columns(value: Any, unchecked: list[str]) -> tuple[list[Column], bool]:
    if not isinstance(value, dict):
        return [], False
    properties = value.get("properties", {})
    known = {"type", "properties", "required", "additionalProperties"} | _ANNOTATIONS
    unchecked += [f"{key} of the row" for key in value if key not in known]
    if value.get("type", "object") != "object":
        unchecked.append(f"type {value['type']!r} of the row")
        return [], False
    closed = value.get("additionalProperties", True)
    if isinstance(closed, dict):
        unchecked.append("additionalProperties of the row")
    required = set(value.get("required", ()))
    columns = [
        _json_column(name, declared, value, unchecked)._replace(required=name in required)
        for name, declared in properties.items()
    ]
    named = {column.name for column in columns}
    columns += [Column(name, nullable=True) for name in sorted(required - named)]
    return columns, closed is False


def _json_column(name: str, declared: Any, root: Mapping[str, Any], unchecked: list[str]) -> Column:
    if declared is True or declared == {}:
        return Column(name, nullable=True)
    if not isinstance(declared, dict):
        unchecked.append(f"{name}: the schema false")
        return Column(name, nullable=True)
    for keyword in ("anyOf", "oneOf"):  # a common way to write "or null"
        branches = declared.get(keyword, [])
        others = [branch for branch in branches if branch != {"type": "null"}]
        if len(others) == 1 and len(branches) == 2:
            siblings = {key: value for key, value in declared.items() if key != keyword}
            inner = _json_column(name, {**others[0], **siblings}, root, unchecked)
            return inner._replace(nullable=True)
    reference = declared.get("$ref", "")
    if reference.startswith("#/"):
        target: Any = root
        for token in reference[2:].split("/"):
            target = (
                target.get(token.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
            )
        if isinstance(target, dict) and "$ref" not in target:
            siblings = {key: value for key, value in declared.items() if key != "$ref"}
            return _json_column(name, {**target, **siblings}, root, unchecked)
    unchecked += [f"{name}: {key}" for key in declared if key not in _CHECKED_KEYWORDS | _ANNOTATIONS]
    types = declared.get("type", [])
    types = [types] if isinstance(types, str) else types
    allowed = [declared["const"]] if "const" in declared else declared.get("enum")
    nullable = "null" in types if types else allowed is None
    if allowed is not None:
        nullable = None in allowed and (nullable or not types)
        allowed = tuple(value for value in allowed if value is not None)
    bounds = Bounds(*map(declared.get, _LIMITS))
    return Column(
        name,
        _json_dtypes(name, declared, types, unchecked),
        nullable,
        bounds=NO_BOUNDS if bounds == NO_BOUNDS else bounds,
        allowed=allowed,
    )


def _json_dtypes(
    name: str, declared: Mapping[str, Any], types: list[str], unchecked: list[str]
) -> tuple[DataType, ...]:
    if "x-dtype" in declared:
        if declared["x-dtype"] in _DTYPE_NAMES:
            return (_DTYPE_NAMES[declared["x-dtype"]],)
        unchecked.append(f"{name}: x-dtype {declared['x-dtype']!r}")
    types_but_null = [type_name for type_name in types if type_name != "null"]
    if any(type_name not in _JSON_TYPES for type_name in types_but_null):
        unchecked.append(f"{name}: type {types}")
        return ()
    dtypes = tuple(dtype for type_name in types_but_null for dtype in _JSON_TYPES[type_name])
    unit = declared.get("x-unit", "")
    if unit in _TIMES and "integer" in types_but_null:
        return (*_INTEGERS, _TIMES[unit])
    return dtypes


# -- Avro ------------------------------------------------------------------------------------------------


def _avro_columns(value: Any, unchecked: list[str]) -> tuple[list[Column], bool]:
    if not isinstance(value, dict) or value.get("type") != "record":
        unchecked.append("a schema that is no record")
        return [], False
    return [_avro_column(field["name"], field["type"], unchecked) for field in value["fields"]], True


def _avro_column(name: str, declared: Any, unchecked: list[str]) -> Column:
    branches = declared if isinstance(declared, list) else [declared]
    nullable = "null" in branches
    others = [branch for branch in branches if branch != "null"]
    if len(others) != 1:
        unchecked.append(f"{name}: a union of {counted(len(others), 'type')}")
        return Column(name, nullable=True)
    avro_type = others[0]
    if isinstance(avro_type, dict):
        if avro_type.get("type") == "enum":
            return Column(
                name, (pl.String, pl.Categorical, pl.Enum), nullable, allowed=tuple(avro_type["symbols"])
            )
        if avro_type.get("logicalType") in _AVRO_TIMES:
            return Column(name, (_AVRO_TIMES[avro_type["logicalType"]],), nullable)
        avro_type = avro_type.get("type")
    if avro_type not in _AVRO_TYPES:
        unchecked.append(f"{name}: type {avro_type!r}")
        return Column(name, nullable=True)
    return Column(name, _AVRO_TYPES[avro_type], nullable)
