"""The columns of a schema of either language: what JSON Schema and Avro say of a row, as questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from qmtl.runtime.conformance.registered import NO_BOUNDS, Bounds, Column, RegisteredSchema

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
_NAMED: Mapping[str, DataType] = {
    **{f"Datetime({unit}, UTC)": dtype for unit, dtype in _TIMES.items()},
    **{
        dtype.__name__: dtype()
        for dtype in (pl.Float64, pl.Float32, pl.Int64, pl.Int32, pl.String, pl.Boolean, pl.Date)
    },
}
# What JSON Schema calls annotations, and ours: they are no questions, or are read elsewhere.
_SAYS_NOTHING = frozenset(
    {
        *("$schema", "$id", "$comment", "$defs", "definitions", "$anchor", "title", "description", "default"),
        *("examples", "deprecated", "readOnly", "writeOnly", "format", "contentEncoding", "contentMediaType"),
        *("contentSchema", "x-dtype", "x-unit"),
    }
)
_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_READ = frozenset({"type", "enum", "const", *_LIMITS})


def columns_of(
    subject: str, version: int, value: Any, *, language: str, id: int | None = None
) -> RegisteredSchema:
    """A schema's value (parsed JSON) as a `RegisteredSchema`.

    language: "JSON" or "AVRO". What cannot be asked of a column is told in `unchecked`, never left out in
    silence; a schema that does not describe a row at all is unchecked as a whole.
    """
    unchecked: list[str] = []
    read: Callable[[Any, list[str]], tuple[list[Column], bool]] = _of_avro if language == "AVRO" else _of_json
    columns, closed = read(value, unchecked)
    return RegisteredSchema(subject, version, tuple(columns), closed, tuple(unchecked), id)


# -- JSON Schema -----------------------------------------------------------------------------------------


def _of_json(value: Any, unchecked: list[str]) -> tuple[list[Column], bool]:
    if not isinstance(value, dict):
        return [], False
    properties = value.get("properties", {})
    known = {"type", "properties", "required", "additionalProperties"} | _SAYS_NOTHING
    unchecked += [f"{key} of the row" for key in value if key not in known]
    if value.get("type", "object") != "object":
        unchecked.append(f"type {value['type']!r} of the row")
        return [], False
    closed = value.get("additionalProperties", True)
    if isinstance(closed, dict):
        unchecked.append("additionalProperties of the row")
    required = set(value.get("required", ()))
    columns = [
        replace(_json_column(name, said, value, unchecked), required=name in required)
        for name, said in properties.items()
    ]
    named = {column.name for column in columns}
    columns += [Column(name, nullable=True) for name in sorted(required - named)]
    return columns, closed is False


def _json_column(name: str, said: Any, root: Mapping[str, Any], unchecked: list[str]) -> Column:
    if said is True or said == {}:
        return Column(name, nullable=True)
    if not isinstance(said, dict):
        unchecked.append(f"{name}: the schema false")
        return Column(name, nullable=True)
    for word in ("anyOf", "oneOf"):  # how many people write "or null"
        branches = said.get(word, [])
        rest = [branch for branch in branches if branch != {"type": "null"}]
        if len(rest) == 1 and len(branches) == 2:
            around = {key: value for key, value in said.items() if key != word}
            inner = _json_column(name, {**rest[0], **around}, root, unchecked)
            return replace(inner, nullable=True)
    reference = said.get("$ref", "")
    if reference.startswith("#/"):
        target: Any = root
        for step in reference[2:].split("/"):
            target = (
                target.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
            )
        if isinstance(target, dict) and "$ref" not in target:
            around = {key: value for key, value in said.items() if key != "$ref"}
            return _json_column(name, {**target, **around}, root, unchecked)
    unchecked += [f"{name}: {key}" for key in said if key not in _READ | _SAYS_NOTHING]
    types = said.get("type", [])
    types = [types] if isinstance(types, str) else types
    listed = [said["const"]] if "const" in said else said.get("enum")
    nullable = "null" in types if types else listed is None
    if listed is not None:
        nullable = None in listed and (nullable or not types)
        listed = tuple(value for value in listed if value is not None)
    bounds = Bounds(*map(said.get, _LIMITS))
    return Column(
        name,
        _json_dtypes(name, said, types, unchecked),
        nullable,
        bounds=NO_BOUNDS if bounds == NO_BOUNDS else bounds,
        allowed=listed,
    )


def _json_dtypes(
    name: str, said: Mapping[str, Any], types: list[str], unchecked: list[str]
) -> tuple[DataType, ...]:
    if "x-dtype" in said:
        if said["x-dtype"] in _NAMED:
            return (_NAMED[said["x-dtype"]],)
        unchecked.append(f"{name}: x-dtype {said['x-dtype']!r}")
    kinds = [kind for kind in types if kind != "null"]
    if any(kind not in _JSON_TYPES for kind in kinds):
        unchecked.append(f"{name}: type {types}")
        return ()
    dtypes = tuple(dtype for kind in kinds for dtype in _JSON_TYPES[kind])
    unit = said.get("x-unit", "")
    if unit in _TIMES and "integer" in kinds:
        return (*_INTEGERS, _TIMES[unit])
    return dtypes


# -- Avro ------------------------------------------------------------------------------------------------


def _of_avro(value: Any, unchecked: list[str]) -> tuple[list[Column], bool]:
    if not isinstance(value, dict) or value.get("type") != "record":
        unchecked.append("a schema that is no record")
        return [], False
    return [_avro_column(field["name"], field["type"], unchecked) for field in value["fields"]], True


def _avro_column(name: str, said: Any, unchecked: list[str]) -> Column:
    branches = said if isinstance(said, list) else [said]
    nullable = "null" in branches
    rest = [branch for branch in branches if branch != "null"]
    if len(rest) != 1:
        unchecked.append(f"{name}: a union of {len(rest)} types")
        return Column(name, nullable=True)
    kind = rest[0]
    if isinstance(kind, dict):
        if kind.get("type") == "enum":
            return Column(
                name, (pl.String, pl.Categorical, pl.Enum), nullable, allowed=tuple(kind["symbols"])
            )
        if kind.get("logicalType") in _AVRO_TIMES:
            return Column(name, (_AVRO_TIMES[kind["logicalType"]],), nullable)
        kind = kind.get("type")
    if kind not in _AVRO_TYPES:
        unchecked.append(f"{name}: type {kind!r}")
        return Column(name, nullable=True)
    return Column(name, _AVRO_TYPES[kind], nullable)
