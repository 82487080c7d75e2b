"""Schemas that are deep, huge or explosive: a clear answer within seconds, and never a RecursionError."""

from __future__ import annotations

import time
from typing import Any

import pytest

from qmtl.foundation.schema.compatibility.avro import compare
from qmtl.foundation.schema.compatibility.avro.limits import (
    MAX_HEIGHT,
    MAX_NESTING,
    MAX_PAIRS,
    MAX_PARTS,
    MAX_PARTS_IN_ALL,
)

LEVELS = 10_000


def record(name: str, *fields: tuple[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": key, "type": type_} for key, type_ in fields]}


def nested(levels: int, kind: str, leaf: str = "int") -> Any:
    schema: Any = leaf
    for level in range(levels):
        if kind == "record":
            schema = record(f"R{level}", ("f", schema))
        elif kind == "union":
            schema = ["null", {"type": "array", "items": schema}]
        else:
            schema = {"type": kind, {"array": "items", "map": "values", "type": "type"}[kind]: schema}
    return schema


def chain(length: int, leaf: str, width: int = 1) -> Any:
    """Records that each hold the one before, `width` times: flat as text, deep as types."""
    links = [record(f"R{i}", *[(f"f{j}", f"R{i - 1}") for j in range(width)]) for i in range(1, length)]
    return record("Root", *[(f"r{i}", link) for i, link in enumerate([record("R0", ("x", leaf)), *links])])


@pytest.mark.parametrize("kind", ["array", "map", "record", "union"])
@pytest.mark.parametrize("side", ["writer", "reader", "both"])
def test_ten_thousand_levels(document: Any, kind: str, side: str) -> None:
    deep = document(nested(LEVELS, kind))
    writer = document("int") if side == "reader" else deep
    reader = document("int") if side == "writer" else deep
    (problem,) = compare(writer, reader).problems
    assert (problem.rule, problem.undecided, problem.counterexample) == ("avro.too_deep", True, None)
    assert str(MAX_NESTING) in problem.message


@pytest.mark.parametrize("kind", ["array", "map", "record"])
def test_as_deep_as_is_allowed(library: Any, document: Any, kind: str) -> None:
    levels = MAX_HEIGHT - 1
    assert compare(document(nested(levels, kind)), document(nested(levels, kind, "long"))).is_compatible
    writer, reader = nested(levels, kind), nested(levels, kind, "string")
    (problem,) = compare(document(writer), document(reader)).problems
    assert problem.rule == "avro.type_mismatch"
    assert library.says(writer, reader, problem.counterexample and problem.counterexample.value) == "refused"


def test_an_instance_too_deep_to_be_shown(document: Any) -> None:
    levels = MAX_HEIGHT
    (problem,) = compare(
        document(nested(levels, "array")), document(nested(levels, "array", "string"))
    ).problems
    assert (problem.rule, problem.undecided, problem.counterexample) == ("avro.too_deep", True, None)
    assert problem.path == "/" + "/".join(["[]"] * levels)


def test_a_long_chain_of_references(document: Any) -> None:
    """A thousand records, each of the one before."""
    writer = document(chain(1_000, "int"))
    assert compare(writer, document(chain(1_000, "long"))).is_compatible
    (problem,) = compare(writer, document(chain(1_000, "string"))).problems
    assert (problem.path, problem.rule, problem.undecided) == ("/Root/r0/x", "avro.too_deep", True)


def test_an_instance_too_large_to_be_shown(document: Any) -> None:
    """Two to the power of sixty values: the place is found, and no time is spent on the instance."""
    writer = document(chain(60, "int", width=2))
    assert compare(writer, document(chain(60, "long", width=2))).is_compatible
    (problem,) = compare(writer, document(chain(60, "string", width=2))).problems
    assert (problem.path, problem.rule, problem.undecided) == ("/Root/r0/x", "avro.too_large", True)
    assert str(MAX_PARTS) in problem.message


def test_problems_beyond_what_is_shown_are_still_reported(document: Any) -> None:
    count = 2_000

    def wide(leaf: str) -> dict[str, Any]:
        return record("Wide", *[(f"f{i}", leaf) for i in range(count)])

    problems = compare(document(wide("int")), document(wide("string"))).problems
    shown = [problem for problem in problems if problem.counterexample is not None]
    assert len(problems) == count
    assert len(shown) == MAX_PARTS_IN_ALL // (count + 1)
    assert {problem.rule for problem in problems if problem.undecided} == {"avro.too_large"}


def test_too_many_pairs_to_look_at(document: Any) -> None:
    count = 1_000
    assert count**2 > MAX_PAIRS
    writer = [record(f"W{i}") for i in range(count)]
    reader = [record(f"R{i}") for i in range(count)]
    problem = compare(document(writer), document(reader)).problems[-1]
    assert (problem.rule, problem.undecided, problem.counterexample) == ("avro.too_large", True, None)
    assert str(MAX_PAIRS) in problem.message


def test_what_was_found_before_the_bound_is_reported(document: Any) -> None:
    def sides(leaf: str, prefix: str) -> Any:
        return record("R", ("a", leaf), ("b", [record(f"{prefix}{i}") for i in range(1_000)]))

    first, *_, last = compare(document(sides("int", "W")), document(sides("string", "R"))).problems
    assert (first.path, first.rule, first.undecided) == ("/R/a", "avro.type_mismatch", False)
    assert first.counterexample is not None
    assert (last.path, last.rule, last.undecided) == ("/", "avro.too_large", True)


def test_what_is_no_part_of_the_schema_may_be_deep(document: Any) -> None:
    """A property and a default of ten thousand levels, beside a problem."""
    deep = nested(LEVELS, "array")
    field = {"name": "list", "type": {"type": "array", "items": "int"}, "default": deep, "note": deep}
    writer, reader = ({**record("R", ("a", leaf)), "note": deep} for leaf in ("int", "string"))
    for schema in (writer, reader):
        schema["fields"].append({**field, "default": [deep]})
    (problem,) = compare(document(writer), document(reader)).problems
    assert (problem.path, problem.undecided) == ("/R/a", False)


def test_two_hundred_fields_against_fifty_versions(document: Any) -> None:
    """The goal is 100 ms on a machine at rest; a busy one is given ten times as long."""

    def version(number: int) -> Any:
        types: list[Any] = [
            "double",
            "string",
            ["null", "double"],
            {"type": "long", "logicalType": "timestamp-millis"},
        ]
        fields = [{"name": f"f{i}", "type": types[i % 4], "doc": f"{number}"} for i in range(200)]
        added = [{"name": f"n{i}", "type": "long", "default": 0} for i in range(number)]
        return document({"type": "record", "name": "market.Wide", "fields": fields + added})

    versions, newest = [version(number) for number in range(50)], version(50)
    start = time.process_time()
    verdicts = [compare(earlier, newest) for earlier in versions]
    assert time.process_time() - start < 1.0
    assert all(verdict.is_compatible for verdict in verdicts)
