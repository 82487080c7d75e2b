"""Schemas of both languages as questions to columns; what cannot be asked is named, never left out."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from qmtl.runtime.conformance.registered_schema import NO_BOUNDS, Bounds, Column, RegisteredSchema
from qmtl.runtime.conformance.schema_columns import parse_registered_schema

NS, US, MS = (pl.Datetime(unit, "UTC") for unit in ("ns", "us", "ms"))


def of_json(properties: dict[str, Any], **around: Any) -> RegisteredSchema:
    return parse_registered_schema("bars", 3, {"properties": properties, **around}, language="JSON", id=9)


def json_column(value: Any, **around: Any) -> Column:
    (column,) = of_json({"x": value}, required=["x"], **around).columns
    return column


def of_avro(*fields: tuple[str, Any]) -> RegisteredSchema:
    value = {"type": "record", "name": "Bar", "fields": [{"name": n, "type": t} for n, t in fields]}
    return parse_registered_schema("bars", 3, value, language="AVRO")


def test_subject_version_and_id_go_along() -> None:
    schema = of_json({})
    assert (schema.name, schema.id, schema.columns) == ("bars:3", 9, ())
    assert of_avro().id is None


def test_a_json_number_may_be_any_number_and_an_integer_a_time() -> None:
    number, integer = json_column({"type": "number"}), json_column({"type": "integer"})
    assert {pl.Float64, pl.Float32, pl.Int64, pl.UInt8} <= set(number.dtypes)
    assert not {NS, US, MS} & set(number.dtypes)
    assert {pl.Int64, NS, US, MS} <= set(integer.dtypes)
    assert pl.Float64 not in integer.dtypes


@pytest.mark.parametrize(("unit", "dtype"), [("ns", NS), ("us", US), ("ms", MS)])
def test_a_unit_of_time_names_the_one_datetime(unit: str, dtype: pl.DataType) -> None:
    dtypes = json_column({"type": "integer", "x-unit": unit}).dtypes
    assert {NS, US, MS} & set(dtypes) == {dtype}


def test_a_named_dtype_is_the_only_one() -> None:
    assert json_column({"type": "integer", "x-dtype": "Datetime(ns, UTC)"}).dtypes == (NS,)
    schema = of_json({"x": {"type": "number", "x-dtype": "Decimal"}})
    assert schema.unchecked == ("x: x-dtype 'Decimal'",)
    assert pl.Float64 in schema.columns[0].dtypes


def test_required_columns_and_those_that_only_required_names() -> None:
    schema = of_json({"a": {"type": "number"}, "b": {"type": "number"}}, required=["a", "z", "y"])
    required = {column.name: column.required for column in schema.columns}
    assert required == {"a": True, "b": False, "y": True, "z": True}
    assert schema.columns[-1] == Column("z", nullable=True)


@pytest.mark.parametrize(
    ("value", "nullable"),
    [
        ({"type": "number"}, False),
        ({"type": ["number", "null"]}, True),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, True),
        ({"oneOf": [{"type": "null"}, {"type": "number"}]}, True),
        ({}, True),
        (True, True),
        ({"enum": [1, None]}, True),
        ({"enum": [1, 2]}, False),
        ({"enum": [1, None], "type": "integer"}, False),
        ({"enum": [1], "type": ["integer", "null"]}, False),
        ({"const": None}, True),
    ],
)
def test_where_json_allows_null(value: Any, nullable: bool) -> None:
    assert json_column(value).nullable is nullable


def test_bounds_and_lists() -> None:
    assert json_column({"type": "number", "minimum": 1, "exclusiveMaximum": 5}).bounds == Bounds(
        least=1, below=5
    )
    assert json_column({"type": "number", "maximum": 1, "exclusiveMinimum": 0}).bounds == Bounds(
        most=1, above=0
    )
    assert json_column({"type": "number"}).bounds is NO_BOUNDS
    assert json_column({"enum": ["a", None, "b"]}).allowed == ("a", "b")
    assert json_column({"const": 4}).allowed == (4,)
    assert json_column({"type": "number"}).allowed is None


def test_bounds_beside_an_or_null_hold_for_the_branch() -> None:
    column = json_column({"anyOf": [{"type": "number"}, {"type": "null"}], "minimum": 0})
    assert column.bounds == Bounds(least=0)


def test_a_reference_is_followed_within_the_schema() -> None:
    value = {"$ref": "#/$defs/a~1b", "minimum": 2}
    column = json_column(value, **{"$defs": {"a/b": {"type": "number", "maximum": 9}}})
    assert column.bounds == Bounds(least=2, most=9)
    assert pl.Float64 in column.dtypes


@pytest.mark.parametrize("reference", ["#/$defs/none", "other.json#/x"])
def test_a_reference_that_leads_nowhere_is_unchecked(reference: str) -> None:
    schema = of_json({"x": {"$ref": reference}})
    assert schema.unchecked == ("x: $ref",)
    assert schema.columns[0].dtypes == ()


def test_what_json_says_and_nobody_asks_is_named() -> None:
    schema = of_json(
        {"x": {"type": "string", "pattern": "a", "title": "no question"}, "y": False, "z": {"type": "array"}},
        additionalProperties={"type": "number"},
        minProperties=2,
        title="no question",
    )
    assert set(schema.unchecked) == {
        "x: pattern",
        "y: the schema false",
        "z: type ['array']",
        "additionalProperties of the row",
        "minProperties of the row",
    }


@pytest.mark.parametrize(("value", "closed"), [({}, False), ({"additionalProperties": False}, True)])
def test_other_columns_are_refused_only_where_json_says_so(value: dict[str, Any], closed: bool) -> None:
    assert of_json({}, **value).closed is closed


def test_a_schema_that_describes_no_row_is_unchecked() -> None:
    assert of_json({"x": {}}, type="array").unchecked == ("type 'array' of the row",)
    assert of_json({"x": {}}, type="array").columns == ()
    avro = parse_registered_schema("bars", 1, "string", language="AVRO")
    assert avro.unchecked == ("a schema that is no record",)
    assert not avro.closed


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("double", pl.Float64),
        ("float", pl.Float32),
        ("long", pl.Int64),
        ("int", pl.Int32),
        ("string", pl.String),
        ("boolean", pl.Boolean),
        ("bytes", pl.Binary),
        ({"type": "long"}, pl.Int64),
        ({"type": "long", "logicalType": "timestamp-nanos"}, NS),
        ({"type": "long", "logicalType": "timestamp-micros"}, US),
        ({"type": "long", "logicalType": "timestamp-millis"}, MS),
        ({"type": "int", "logicalType": "date"}, pl.Date()),
        ({"type": "long", "logicalType": "unknown"}, pl.Int64),
    ],
)
def test_an_avro_type_is_one_polars_type(kind: Any, dtype: pl.DataType) -> None:
    schema = of_avro(("x", kind), ("y", ["null", kind]))
    assert [(column.dtypes, column.nullable, column.required) for column in schema.columns] == [
        ((dtype,), False, True),
        ((dtype,), True, True),
    ]
    assert schema.closed
    assert schema.unchecked == ()


def test_an_avro_enum_lists_its_symbols() -> None:
    (column,) = of_avro(("side", {"type": "enum", "name": "Side", "symbols": ["buy", "sell"]})).columns
    assert column.allowed == ("buy", "sell")
    assert pl.String in column.dtypes


@pytest.mark.parametrize(
    ("kind", "unchecked"),
    [(["int", "string"], "x: a union of 2 types"), ({"type": "array", "items": "int"}, "x: type 'array'")],
)
def test_an_avro_type_that_no_column_has_is_unchecked(kind: Any, unchecked: str) -> None:
    schema = of_avro(("x", kind))
    assert schema.unchecked == (unchecked,)
    assert schema.columns == (Column("x", nullable=True),)
