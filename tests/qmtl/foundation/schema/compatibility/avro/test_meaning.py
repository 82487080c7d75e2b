"""Logical types and units: what can be read and would be taken for something else, by rules of ours."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from qmtl.foundation.schema.compatibility.avro import compare
from qmtl.foundation.schema.compatibility.avro.smallest import SmallestValues
from qmtl.foundation.schema.compatibility.avro.understanding import understand

LONG_TIMES = [
    "time-micros",
    "timestamp-millis",
    "timestamp-micros",
    "timestamp-nanos",
    "local-timestamp-millis",
    "local-timestamp-micros",
    "local-timestamp-nanos",
]
INT_TIMES = ["date", "time-millis"]


def logical(base: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": base, "logicalType": name, **more}


def decimal(precision: int, scale: int | None = None) -> dict[str, Any]:
    return logical("bytes", "decimal", precision=precision, **({} if scale is None else {"scale": scale}))


def bar(type_: Any, **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": "Bar", "fields": [{"name": "x", "type": type_, **more}]}


def rules(document: Any, writer: Any, reader: Any) -> tuple[list[str], list[str]]:
    verdict = compare(document(writer), document(reader))
    assert all(problem.counterexample is None and not problem.undecided for problem in verdict.problems)
    assert all(item.rule in item.message for item in (*verdict.problems, *verdict.notices))
    return [problem.rule for problem in verdict.problems], [notice.rule for notice in verdict.notices]


@pytest.mark.parametrize(
    ("writer", "reader"),
    [
        *itertools.permutations([logical("long", name) for name in LONG_TIMES], 2),
        *itertools.permutations([logical("int", name) for name in INT_TIMES], 2),
        *itertools.product(
            [logical("int", name) for name in INT_TIMES], [logical("long", name) for name in LONG_TIMES]
        ),
    ],
    ids=str,
)
def test_two_known_time_types(document: Any, writer: Any, reader: Any) -> None:
    assert rules(document, bar(writer), bar(reader)) == (["avro.time_type_changed"], [])


@pytest.mark.parametrize(
    ("writer", "reader", "problems", "notices"),
    [
        (decimal(9, 2), decimal(9, 2), [], []),
        (decimal(9, 2), decimal(9, 3), ["avro.decimal_scale_changed"], []),
        (decimal(9), decimal(9, 1), ["avro.decimal_scale_changed"], []),
        (decimal(9), decimal(9, 0), [], []),
        (decimal(9, 2), decimal(12, 2), [], ["avro.decimal_precision_changed"]),
        (decimal(2, 3), decimal(9, 2), [], ["avro.logical_type_added"]),
        ("long", logical("long", "timestamp-millis"), [], ["avro.logical_type_added"]),
        (logical("long", "timestamp-millis"), "long", [], ["avro.logical_type_dropped"]),
        (logical("long", "timestamp-millis"), "double", [], ["avro.logical_type_dropped"]),
        (logical("string", "price"), "string", [], ["avro.logical_type_unknown"]),
        (logical("string", "uuid"), logical("string", "price"), [], ["avro.logical_type_unknown"]),
        (logical("string", "price"), logical("string", "price"), [], []),
        (decimal(9, 2), logical("bytes", "big-decimal"), [], ["avro.logical_type_changed"]),
        (logical("string", "timestamp-millis"), "string", [], []),
        (
            {"type": "fixed", "name": "F", "size": 3, "logicalType": "duration"},
            fixed3 := {"type": "fixed", "name": "F", "size": 3},
            [],
            [],
        ),
        (fixed3 | {"logicalType": "decimal", "precision": 6}, fixed3, [], ["avro.logical_type_dropped"]),
        (fixed3 | {"logicalType": "decimal", "precision": 7}, fixed3, [], []),
    ],
    ids=str,
)
def test_logical_types(document: Any, writer: Any, reader: Any, problems: Any, notices: Any) -> None:
    """An invalid one is ignored: of a scale beyond its precision, on another base, too long for its bytes."""
    assert rules(document, bar(writer), bar(reader)) == (problems, notices)


def test_a_time_in_a_union_an_array_and_a_map(document: Any) -> None:
    def schema(unit: str) -> Any:
        return bar(
            [{"type": "map", "values": {"type": "array", "items": logical("long", f"timestamp-{unit}")}}]
        )

    (problem,) = compare(document(schema("millis")), document(schema("micros"))).problems
    assert problem.path == "/Bar/x/map/{}/[]"
    assert problem.message == (
        "/Bar/x/map/{}/[]: a time is written as long (timestamp-millis) and read as long (timestamp-micros), "
        "so every time changes (avro.time_type_changed)"
    )


@pytest.mark.parametrize(
    ("writer", "reader", "problems", "notices"),
    [
        (bar("double", unit="USD"), bar("double", unit="EUR"), ["avro.unit_changed"], []),
        (bar({"type": "double", "unit": "USD"}), bar("double", unit="EUR"), ["avro.unit_changed"], []),
        (bar(["null", "double"], unit="USD"), bar("double", unit="USD"), ["avro.branch_mismatch"], []),
        (bar("double", unit="USD"), bar(["null", "double"], unit="EUR"), ["avro.unit_changed"], []),
        (bar("double", unit="USD"), bar("double"), [], ["avro.unit_declared"]),
        (bar("double"), bar("double", unit="USD"), [], ["avro.unit_declared"]),
        (bar("double", unit="USD"), bar("double", unit="USD"), [], []),
        (
            bar({"type": "array", "items": "double"}, unit="USD"),
            bar({"type": "array", "items": {"type": "double", "unit": "EUR"}}, unit="USD"),
            ["avro.unit_changed"],
            [],
        ),
    ],
)
def test_units(document: Any, writer: Any, reader: Any, problems: Any, notices: Any) -> None:
    """Of a field or a type, the inner one first; they describe the values of arrays, maps and unions too."""
    verdict = compare(document(writer), document(reader))
    assert [problem.rule for problem in verdict.problems] == problems
    assert [notice.rule for notice in verdict.notices] == notices


def test_units_of_a_null_do_not_matter(document: Any) -> None:
    writer, reader = bar(["null", "double"], unit="USD"), bar(["null", "double"], unit="EUR")
    assert [problem.path for problem in compare(document(writer), document(reader)).problems] == [
        "/Bar/x/double"
    ]


def test_a_uuid_is_a_legal_one(library: Any, document: Any) -> None:
    """Its smallest value is one by RFC 4122, so that a reader refuses the instance for the reason told."""
    writer, reader = bar(logical("string", "uuid")), bar("int")
    (problem,) = compare(document(writer), document(reader)).problems
    assert problem.counterexample is not None
    assert problem.counterexample.value == {"x": "00000000-0000-0000-0000-000000000000"}
    assert library.says(writer, writer, problem.counterexample.value) == "read"
    assert library.says(writer, reader, problem.counterexample.value) == "refused"
    graph = understand(document(writer))
    assert SmallestValues(graph).of(graph.root).parts == 2
