"""A file is observed by the judge of a fetch: the same rows fail in canary, in strict and when observed."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

import qmtl
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import BAR_SCHEMA, PRICES, VALUES
from qmtl.foundation.schema.builtin import BUILTIN
from qmtl.foundation.schema.documents import Schema, SchemaType
from qmtl.foundation.schema.registry.client import SchemaRegistryClient
from qmtl.foundation.times import HOUR, to_ns
from qmtl.interfaces.cli.schema_checks import broken_rows, checked_columns
from qmtl.interfaces.cli.schema_rows import rows_of
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import Change, ScriptedVendor

SERIES = "ohlcv:test:BTC/USDT:1h"
START = to_ns("2024-01-01")
FAILURES = "seamless_schema_validation_failures_total"
OHLCV = json.loads((BUILTIN / "ohlcv.json").read_text())

prices = st.sampled_from([0.1, 1.0, 2.0, 1e9]) | st.floats(0.5, 8.0)
rows = st.tuples(prices, prices, prices, prices, st.sampled_from([None, 0.0, 1.0, 0.3]))
frames = st.lists(rows, min_size=1, max_size=24).map(
    lambda made: pl.DataFrame(
        [
            (START + n * HOUR, first, max(one), min(one), one[-1], volume)
            for n, (first, *others, volume) in enumerate(made)
            for one in [[first, *others]]
        ],
        schema=dict.fromkeys(BAR_SCHEMA, pl.Float64) | {"ts": pl.Int64},
        orient="row",
    ).cast(dict(BAR_SCHEMA))
)
bounds = st.dictionaries(
    st.sampled_from(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]), prices, max_size=2
)
columns = st.one_of(
    bounds.map(lambda message: {"type": "number", **message}),
    bounds.map(lambda message: {"type": ["number", "null"], "x-dtype": "Float64", **message}),
    st.lists(prices | st.none(), min_size=1, max_size=3).map(lambda values: {"enum": values}),
    st.sampled_from([{"type": "string"}, {"type": "number", "x-dtype": "Float32"}, True]),
)
of_json = st.builds(
    lambda message, required, closed: Schema(
        json.dumps(
            {
                "type": "object",
                "properties": {"ts": OHLCV["properties"]["ts"], **message},
                "required": required,
                "additionalProperties": not closed,
            }
        ),
        SchemaType.JSON,
    ),
    st.dictionaries(st.sampled_from(VALUES), columns),
    st.lists(st.sampled_from([*BAR_SCHEMA, "trades"]), unique=True),
    st.booleans(),
)
of_avro = st.lists(
    st.sampled_from(["double", ["null", "double"], "float", "string"]), min_size=5, max_size=5
).map(
    lambda kinds: Schema(
        json.dumps(
            {
                "type": "record",
                "name": "Bar",
                "fields": [
                    {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-nanos"}},
                    *({"name": name, "type": kind} for name, kind in zip(VALUES, kinds, strict=True)),
                ],
            }
        ),
        SchemaType.AVRO,
    )
)


def write(frame: pl.DataFrame, path: Path) -> Path:
    plain = frame.with_columns(pl.col("ts").to_physical())
    if path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in plain.to_dicts()))
    elif path.suffix == ".csv":
        plain.write_csv(path)
    else:
        frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_ipc(path)
    return path


def observed(schema: Schema, path: Path) -> dict[int, str]:
    asked = checked_columns("ohlcv", 1, schema)
    failed, why = broken_rows(rows_of(path, asked), asked, most=1_000)
    assert failed == len(why)
    return why


def fetched(schema: Schema, frame: pl.DataFrame, mode: str, folder: Path, faults: Any = None) -> Any:
    """What a fetch of these bars says in a mode, result or error, and how many failures it counted."""
    registry = SchemaRegistryClient()
    registry.register("ohlcv", schema)
    counted = CollectorRegistry()
    with qmtl.SeamlessDataProvider(
        folder / mode,
        vendors=ScriptedVendor({SERIES: frame}, faults=faults),
        schemas=registry,
        validation_mode=mode,
        declared=[("*", SeriesFacts(has_volume=False))],  # so that nulls may be stored
        clock=FakeClock("2024-02-01"),
        metrics_registry=counted,
    ) as provider:
        message: Any
        try:
            message = provider.fetch(SERIES, START, START + frame.height * HOUR, partial_ok=not faults)
        except (qmtl.SchemaValidationError, qmtl.SourceUnavailableError) as error:
            message = error
    return message, counted.get_sample_value(FAILURES, {"subject": "ohlcv", "mode": mode}) or 0


@settings(max_examples=60, deadline=None)
@given(frame=frames, schema=of_json | of_avro)
def test_what_is_observed_is_what_canary_counts_and_strict_refuses(
    frame: pl.DataFrame, schema: Schema
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        canary, counted = fetched(schema, frame, "canary", folder)
        strict, refused = fetched(schema, frame, "strict", folder)
        suffixes = (".parquet", ".arrow", ".csv", ".jsonl")
        if "string" in schema.text or "Float32" in schema.text or '"float"' in schema.text:
            # A text has no types that could be wrong: its numbers are what the schema calls them.
            suffixes = suffixes[:2]
        found = {suffix: observed(schema, write(frame, folder / f"bars{suffix}")) for suffix in suffixes}
    assert canary.frame.equals(frame)
    assert counted == refused
    broken: set[int] = set()
    if counted:
        assert isinstance(strict, qmtl.SchemaValidationError)
        stamps = frame["ts"].to_physical()
        for problem in strict.problems:
            broken |= set(stamps.to_list() if problem.rows is None else problem.rows.tolist())
        assert {one.rule for one in strict.problems} == {
            one.rule for one in canary.report.findings if one.rule.startswith("schema.")
        }
    else:
        assert strict.frame.equals(frame)
    expected = [(stamp - START) // HOUR + 1 for stamp in sorted(broken)]
    assert len(expected) == counted
    assert {suffix: list(rows) for suffix, rows in found.items()} == dict.fromkeys(suffixes, expected)


@settings(max_examples=20, deadline=None)
@given(frame=frames, column=st.sampled_from(PRICES), dtype=st.sampled_from([pl.String, pl.Int64, pl.Boolean]))
def test_columns_that_no_store_holds_are_refused_by_both_modes_and_fail_when_observed(
    frame: pl.DataFrame, column: str, dtype: Any
) -> None:
    kind = pl.Float64() if dtype is pl.String else pl.Int64()
    bad = frame.with_columns(pl.col(column).cast(kind, strict=False).fill_null(0).cast(dtype))
    schema = Schema(json.dumps(OHLCV), SchemaType.JSON)

    def spoiled(page: qmtl.Page) -> qmtl.Page:
        return qmtl.Page(bad, page.answered, page.absent)

    with tempfile.TemporaryDirectory() as name:
        for mode in ("canary", "strict"):
            error, counted = fetched(schema, frame, mode, Path(name), faults={0: Change(spoiled)})
            assert isinstance(error, qmtl.SourceUnavailableError)
            assert f"{column} is {dtype}" in str(error)
            assert counted == frame.height
        found = observed(schema, write(bad, Path(name) / "bars.parquet"))
        assert list(found) == list(range(1, frame.height + 1))
        assert f"{column} is {dtype}, not Float64" in found[1]


SAID = json.dumps(
    {
        "type": "object",
        "properties": {
            "ts": {"type": "integer", "x-unit": "ns", "x-dtype": "Datetime(ns, UTC)"},
            "close": {"type": "number", "minimum": 0},
            "trades": {"type": "integer"},
            "side": {"enum": ["buy", "sell", None]},
            "more": {"type": ["array", "null"]},
            "free": True,
        },
        "required": ["ts", "close"],
        "additionalProperties": False,
    }
)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"ts": 1, "close": 1}, None),
        ({"ts": 1, "close": 1.5, "trades": 7.0, "side": None, "more": [1], "free": {"a": 1}}, None),
        ({"ts": 1, "close": 10**30}, None),
        ({"ts": 1}, "schema.column_missing: the column close is missing"),
        ({}, "schema.column_missing: the column ts is missing"),
        ({"ts": 1, "close": 1, "extra": None}, "schema.column_unknown: extra is no column of x:1"),
        ({"ts": 1, "close": None}, "schema.null: close is null in 1 row, here None"),
        ({"ts": 1, "close": -1}, "schema.out_of_range: close is not >= 0 in 1 row, here -1.0"),
        ({"ts": 1, "close": "1"}, "close: '1' cannot stand in a column of Float64"),
        ({"ts": 1, "close": True}, "close: True cannot stand in a column of Float64"),
        ({"ts": 1, "close": [1]}, "close: [1] cannot stand in a column of Float64"),
        ({"ts": 2**64, "close": 1}, "ts: 18446744073709551616 cannot stand in a column of Datetime"),
        ({"ts": 0.5, "close": 1}, "ts: 0.5 cannot stand in a column of Datetime"),
        ({"ts": float("nan"), "close": 1}, "ts: nan cannot stand in a column of Datetime"),
        ({"ts": float("inf"), "close": 1}, "ts: inf cannot stand in a column of Datetime"),
        ({"ts": 1, "close": 10**400}, "cannot stand in a column of Float64"),
        ({"ts": 1, "close": 1, "trades": 1.5}, "trades: 1.5 cannot stand in a column of Int64"),
        ({"ts": 1, "close": 1, "side": "hold"}, "schema.not_listed: side is none of 'buy', 'sell'"),
        ({"ts": 1, "close": 1, "side": 3}, "schema.not_listed: side is none of"),
        ([1], "it is no object"),
        (None, "it is no object"),
    ],
)
def test_rows_of_json_beside_good_ones(tmp_path: Path, row: Any, why: str | None) -> None:
    good = {"ts": 5, "close": 2.0, "trades": 1, "side": "buy", "more": None, "free": None}
    path = tmp_path / "rows.jsonl"
    path.write_text("\n\n".join(json.dumps(one) for one in (good, row, good)))
    asked = checked_columns("x", 1, Schema(SAID, SchemaType.JSON))
    rows = rows_of(path, asked)
    assert rows.count == 3
    failed, found = broken_rows(rows, asked, most=1)
    assert failed == len(found)
    assert list(found) == ([] if why is None else [2])
    assert why is None or why in found[2]


def test_texts_of_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    lines = [
        "ts,close,trades,side",
        "1,1.5,3,buy",
        "2,x,3,buy",
        "y,1,,hold",
        "4,-1,1.5,",
        "5,1e3,4,sell",
        "6,,1,",
    ]
    path.write_text("\n".join(lines))
    found = observed(Schema(SAID, SchemaType.JSON), path)
    assert {number: why.split(" ")[0] for number, why in found.items()} == {
        2: "close:",
        3: "ts:",
        4: "trades:",
        6: "schema.null:",
    }
    assert "'x' cannot stand in a column of Float64" in found[2]


@pytest.mark.parametrize(("unit", "fails"), [("us", False), ("ms", False), ("ns", False)])
def test_a_time_in_another_unit_is_the_same_time(tmp_path: Path, unit: Any, fails: bool) -> None:
    frame = pl.DataFrame(
        {"ts": pl.Series([0, 86_400_000]).cast(pl.Datetime("ms", "UTC")).dt.cast_time_unit(unit)}
    )
    schema = Schema(
        json.dumps({"type": "object", "properties": {"ts": OHLCV["properties"]["ts"]}}), SchemaType.JSON
    )
    assert bool(observed(schema, write(frame, tmp_path / "rows.parquet"))) is fails
    naive = frame.with_columns(pl.col("ts").dt.replace_time_zone(None))
    assert "not Datetime" in observed(schema, write(naive, tmp_path / "naive.parquet"))[1]


def test_a_time_that_nanoseconds_cannot_say_is_refused(tmp_path: Path) -> None:
    far = pl.DataFrame({"ts": pl.Series([0, 10**15]).cast(pl.Datetime("ms", "UTC"))})
    schema = Schema(
        json.dumps({"type": "object", "properties": {"ts": OHLCV["properties"]["ts"]}}), SchemaType.JSON
    )
    assert list(observed(schema, write(far, tmp_path / "rows.parquet"))) == [2]


def test_a_schema_that_is_no_row_is_not_observed() -> None:
    for schema in (
        Schema('{"type": "array"}', SchemaType.JSON),
        Schema('"string"', SchemaType.AVRO),
    ):
        with pytest.raises(InvalidRequestError, match="asks nothing of columns"):
            checked_columns("x", 1, schema)


def test_a_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"ts": 1, "close": 1}\n{"ts": \n')
    with pytest.raises(InvalidRequestError) as caught:
        observed(Schema(SAID, SchemaType.JSON), path)
    assert "row 2 is not JSON" in str(caught.value.why)
