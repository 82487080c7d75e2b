"""Each deviation that is written down really is one of fastavro's, and does not change the verdict."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from qmtl.foundation.schema.compatibility.avro import compare
from qmtl.foundation.schema.compatibility.avro.deviations import DEVIATIONS


def record(name: str, *fields: tuple[str, Any], **more: Any) -> dict[str, Any]:
    made = [{"name": key, "type": type_} for key, type_ in fields]
    return {"type": "record", "name": name, "fields": made, **more}


class Deviant(NamedTuple):
    deviation: str
    writer: Any
    reader: Any
    instance: Any
    fastavro: str
    rule: str | None


FIXED = {"type": "fixed", "name": "A", "size": 1}
ENUM = {"type": "enum", "name": "A", "symbols": ["X"]}
HOLDER = record("W", ("first", record("m.Foo")), ("second", "m.Foo"))
HOLDING = record("W", ("second", ["null", record("m.Foo")]))
RENAMED = {
    "type": "record",
    "name": "R",
    "fields": [{"name": "y", "type": "int", "aliases": ["x"]}],
}

DEVIANTS = [
    Deviant("kinds_mixed", FIXED, ENUM, "\x00", "read", "avro.type_mismatch"),
    Deviant("kinds_mixed", ENUM, FIXED, "X", "KeyError", "avro.type_mismatch"),
    Deviant(
        "kinds_mixed",
        [FIXED],
        [{"type": "array", "items": "int"}, ENUM],
        {"A": "\x00"},
        "read",
        "avro.branch_missing",
    ),
    Deviant(
        "alias_without_namespace",
        record("old.Foo"),
        record("new.Bar", aliases=["Foo"]),
        {},
        "read",
        "avro.name_mismatch",
    ),
    Deviant("empty_union", "int", [], 0, "read", "avro.branch_missing"),
    Deviant("empty_union", record("R"), [], {}, "TypeError", "avro.branch_missing"),
    Deviant(
        "fields_compete",
        record("R", ("x", "int"), ("y", "string")),
        RENAMED,
        {"x": 0, "y": ""},
        "read",
        "avro.type_mismatch",
    ),
    Deviant(
        "fields_compete", record("R", ("y", "int"), ("x", "int")), RENAMED, {"y": 0, "x": 0}, "KeyError", None
    ),
    Deviant("branch_defined_inline", HOLDER, HOLDING, {"first": {}, "second": {}}, "TypeError", None),
]


@pytest.mark.parametrize("deviant", DEVIANTS, ids=lambda deviant: f"{deviant.deviation}-{deviant.fastavro}")
def test_the_specification_wins(library: Any, document: Any, deviant: Deviant) -> None:
    assert library.says(deviant.writer, deviant.reader, deviant.instance) == deviant.fastavro
    verdict = compare(document(deviant.writer), document(deviant.reader))
    shown = [
        (problem.rule, problem.counterexample and problem.counterexample.value)
        for problem in verdict.problems
    ]
    assert shown == ([] if deviant.rule is None else [(deviant.rule, deviant.instance)])


def test_every_deviation_is_shown() -> None:
    assert {deviant.deviation for deviant in DEVIANTS} == DEVIATIONS.keys()


def test_a_deviation_beside_a_problem(library: Any, document: Any) -> None:
    """fastavro stumbles before it comes to the field that cannot be read: it is still shown."""
    writer = record("W", ("first", record("m.Foo")), ("second", "m.Foo"), ("third", "int"))
    reader = record("W", ("second", ["null", record("m.Foo")]), ("third", "string"))
    (problem,) = compare(document(writer), document(reader)).problems
    assert (problem.path, problem.rule, problem.undecided) == ("/W/third", "avro.type_mismatch", False)
    assert problem.counterexample is not None
    assert library.says(writer, reader, problem.counterexample.value) == "TypeError"
