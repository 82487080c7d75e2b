"""The registered schema as questions to a frame, against `jsonschema` asked row by row."""

from __future__ import annotations

from typing import Any

import jsonschema
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.frames import BAR_SCHEMA, TS, VALUES
from qmtl.foundation.timeline import Span
from qmtl.runtime.conformance.registered_schema import SchemaCheck, Violation, check
from qmtl.runtime.conformance.schema_columns import parse_registered_schema

NUMBERS = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0])
COLUMNS = ("volume", "count", "side", "flag")
DTYPES = {"volume": pl.Float64(), "count": pl.Int64(), "side": pl.String(), "flag": pl.Boolean()}

limits = st.dictionaries(
    st.sampled_from(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]), NUMBERS, max_size=2
)
of_numbers = st.one_of(
    st.builds(
        lambda kind, bounds: {"type": kind, **bounds}, st.sampled_from(["number", ["number", "null"]]), limits
    ),
    st.builds(lambda values: {"enum": values}, st.lists(NUMBERS | st.none(), min_size=1, max_size=3)),
    st.builds(lambda bounds: {"anyOf": [{"type": "number", **bounds}, {"type": "null"}]}, limits),
)
of_texts = st.one_of(
    st.sampled_from([{"type": "string"}, {"type": ["string", "null"]}, {"const": "buy"}, True, {}]),
    st.builds(lambda values: {"enum": values}, st.sampled_from([["buy", "sell"], ["buy", None], ["sell"]])),
)
of_flags = st.sampled_from([{"type": "boolean"}, {"type": ["boolean", "null"]}, {"const": True}])
schemas = st.builds(
    lambda number, count, side, flag, required, closed: {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "ts": {"type": "integer"},
            "volume": number,
            "count": count,
            "side": side,
            "flag": flag,
        },
        "required": required,
        "additionalProperties": not closed,
    },
    of_numbers,
    of_numbers,
    of_texts,
    of_flags,
    st.lists(st.sampled_from(["ts", *COLUMNS, "absent"]), unique=True),
    st.booleans(),
)
rows = st.lists(
    st.fixed_dictionaries(
        {
            "volume": NUMBERS | st.none(),
            "count": st.sampled_from([None, -1, 0, 1, 2]),
            "side": st.sampled_from([None, "buy", "sell", "hold"]),
            "flag": st.sampled_from([None, True, False]),
        }
    ),
    min_size=1,
    max_size=8,
)


@given(schema=schemas, values=rows, left_out=st.sets(st.sampled_from(COLUMNS)), extra=st.booleans())
def test_rows_fail_as_they_do_by_the_specification(
    schema: dict[str, Any], values: list[dict[str, Any]], left_out: set[str], extra: bool
) -> None:
    kept = [name for name in COLUMNS if name not in left_out]
    frame = pl.DataFrame(values, schema={name: DTYPES[name] for name in COLUMNS}).select(
        pl.int_range(pl.len()).cast(TS).alias("ts"), *kept, *([pl.lit(7).alias("extra")] if extra else [])
    )
    validator = jsonschema.Draft202012Validator(schema)
    plain = frame.with_columns(pl.col("ts").to_physical()).to_dicts()
    expected = [number for number, row in enumerate(plain) if not validator.is_valid(row)]

    read = parse_registered_schema("ohlcv", 1, schema, language="JSON")
    assert read.unchecked == ()
    found = check(frame, read)
    broken = np.unique(
        np.concatenate([np.zeros(0, np.int64), *(_rows(one.rows, frame) for one in found.violations)])
    )
    assert broken.tolist() == expected
    assert found.failed_rows(frame) == len(expected)
    assert {finding.rule for finding in found.findings(frame)} == {one.rule for one in found.violations}


def _rows(of: Any, frame: pl.DataFrame) -> Any:
    return frame["ts"].to_physical().to_numpy() if of is None else of


@given(values=rows, first=st.integers(0, 8), count=st.integers(1, 8))
def test_a_part_of_a_check_is_the_check_of_the_part(
    values: list[dict[str, Any]], first: int, count: int
) -> None:
    schema = parse_registered_schema(
        "ohlcv",
        1,
        {
            "properties": {
                "volume": {"type": "number", "minimum": 1},
                "side": {"enum": ["buy"]},
                "count": {"type": "integer"},
                "flag": {"type": "string"},
            }
        },
        language="JSON",
    )
    frame = pl.DataFrame(values, schema={name: DTYPES[name] for name in COLUMNS}).select(
        pl.int_range(pl.len()).cast(TS).alias("ts"), *COLUMNS
    )
    part = frame.slice(first, count)
    whole = check(frame, schema).within(Span(first, first + count))
    if part.height:
        assert [_summary(v, part) for v in whole.violations] == [
            _summary(v, part) for v in check(part, schema).violations
        ]


def _summary(violation: Any, frame: pl.DataFrame) -> tuple[str, str, list[int]]:
    return violation.rule, violation.column, _rows(violation.rows, frame).tolist()


BARS = pl.DataFrame({"ts": [0, 1], **{name: [1.0, 2.0] for name in VALUES}}).cast(dict(BAR_SCHEMA))


@pytest.mark.parametrize(
    ("schema", "language", "expected"),
    [
        ({"properties": {"open": {"type": "string"}}}, "JSON", [("schema.column_type", "open")]),
        ({"properties": {"open": {"type": "integer"}}}, "JSON", [("schema.column_type", "open")]),
        ({"properties": {"ts": {"type": "integer", "x-unit": "ms"}}}, "JSON", [("schema.column_type", "ts")]),
        ({"properties": {"ts": {"type": "integer", "x-unit": "ns"}}}, "JSON", []),
        (
            {"properties": {"open": {"type": "number", "x-dtype": "Float32"}}},
            "JSON",
            [("schema.column_type", "open")],
        ),
        ({"required": ["trades"]}, "JSON", [("schema.column_missing", "trades")]),
        (
            {
                "properties": dict.fromkeys(["ts", "open", "high", "low", "close"], True),
                "additionalProperties": False,
            },
            "JSON",
            [("schema.column_unknown", "volume")],
        ),
        (
            {
                "$defs": {"price": {"type": "number", "exclusiveMaximum": 2}},
                "properties": {"open": {"$ref": "#/$defs/price"}},
            },
            "JSON",
            [("schema.out_of_range", "open")],
        ),
        (
            {
                "type": "record",
                "name": "Bar",
                "fields": [
                    {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-micros"}},
                    {"name": "open", "type": "double"},
                    {"name": "high", "type": ["null", "double"]},
                    {"name": "low", "type": "long"},
                    {"name": "trades", "type": "int"},
                ],
            },
            "AVRO",
            [
                ("schema.column_type", "ts"),
                ("schema.column_type", "low"),
                ("schema.column_missing", "trades"),
                ("schema.column_unknown", "close"),
                ("schema.column_unknown", "volume"),
            ],
        ),
    ],
)
def test_columns_types_and_units(
    schema: dict[str, Any], language: str, expected: list[tuple[str, str]]
) -> None:
    read = parse_registered_schema("ohlcv", 3, schema, language=language)
    assert read.unchecked == ()
    assert read.name == "ohlcv:3"
    assert [(one.rule, one.column) for one in check(BARS, read).violations] == expected


@pytest.mark.parametrize(
    ("schema", "language", "unchecked"),
    [
        ({"properties": {"open": {"type": "number", "multipleOf": 0.01}}}, "JSON", ("open: multipleOf",)),
        ({"oneOf": [{"required": ["open"]}]}, "JSON", ("oneOf of the row",)),
        ({"type": "array"}, "JSON", ("type 'array' of the row",)),
        ({"properties": {"open": {"x-dtype": "Decimal"}}}, "JSON", ("open: x-dtype 'Decimal'",)),
        ("string", "AVRO", ("a schema that is no record",)),
        (
            {"type": "record", "name": "B", "fields": [{"name": "open", "type": ["int", "string"]}]},
            "AVRO",
            ("open: a union of 2 types",),
        ),
    ],
)
def test_what_cannot_be_checked_is_listed(schema: Any, language: str, unchecked: tuple[str, ...]) -> None:
    assert parse_registered_schema("ohlcv", 1, schema, language=language).unchecked == unchecked


def test_a_frame_without_rows_breaks_nothing() -> None:
    schema = parse_registered_schema("ohlcv", 1, {"required": ["trades"]}, language="JSON")
    assert check(BARS.clear(), schema) == SchemaCheck(schema)


def test_violations_are_equal_if_all_their_facts_are() -> None:
    rows = np.array([1, 2])
    one = Violation("schema.null", "open", "open is null", rows)
    assert one == one._replace(rows=rows.copy())
    assert not (one != one._replace(rows=rows.copy()))  # noqa: SIM202  # both operators are asked
    assert len({one, one._replace(rows=rows.copy())}) == 1
    for other in (None, np.array([1]), np.array([1, 3])):
        assert one != one._replace(rows=other)
    assert one != one._replace(column="close")
    nowhere = one._replace(rows=None)
    assert nowhere == Violation(*nowhere)
    assert nowhere != one
    assert one != tuple(one)
