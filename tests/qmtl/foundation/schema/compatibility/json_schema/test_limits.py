"""What is beyond the engine is said to be undecided, with the reason; nothing crashes."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest

from qmtl.foundation.schema.compatibility.json_schema import compare
from qmtl.foundation.schema.compatibility.verdict import Verdict
from qmtl.foundation.schema.documents import Document, SchemaType


def _document(value: Any, **references: Document) -> Document:
    return Document(SchemaType.JSON, value, references)


def _compare(writer: Any, reader: Any) -> Verdict:
    return compare(_document(writer), _document(reader))


def _nested(levels: int, innermost: Any) -> Any:
    for _ in range(levels):
        innermost = {"properties": {"a": innermost}}
    return innermost


def _undecided(verdict: Verdict) -> list[str]:
    assert all(problem.undecided and problem.counterexample is None for problem in verdict.problems)
    return [problem.rule for problem in verdict.problems]


def test_ten_thousand_levels_are_too_deep() -> None:
    deep = _nested(10_000, {"type": "string"})
    assert _undecided(_compare(deep, True)) == ["json.too_deep"]
    assert _undecided(_compare(True, deep)) == ["json.too_deep"]


def test_forty_levels_are_compared() -> None:
    verdict = _compare(_nested(40, {"maximum": 2}), _nested(40, {"maximum": 1}))
    (problem,) = verdict.problems
    assert problem.rule == "json.maximum_lowered"
    assert problem.path == "/properties/a" * 40
    assert problem.counterexample is not None


def test_a_long_chain_of_definitions_is_too_deep() -> None:
    def chain(limit: int) -> Any:
        definitions: dict[str, Any] = {
            f"d{n}": {"properties": {"a": {"$ref": f"#/$defs/d{n + 1}"}}} for n in range(2_000)
        }
        return {"$defs": definitions | {"d2000": {"maximum": limit}}, "$ref": "#/$defs/d0"}

    assert _undecided(_compare(chain(2), chain(1))) == ["json.too_deep"]


def test_a_wide_schema_is_compared() -> None:
    wide = {"type": "object", "properties": {f"field_{n}": {"type": "number"} for n in range(5_000)}}
    narrower = json.loads(json.dumps(wide))
    narrower["properties"]["field_7"] = {"type": "integer"}
    (problem,) = _compare(wide, narrower).problems
    assert problem.path == "/properties/field_7"


def test_a_schema_that_is_itself_leads_nowhere() -> None:
    circle = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
    assert _undecided(_compare({"type": "string"}, circle)) == ["json.reference_unresolved"]


def test_many_alternatives_end_in_a_bound() -> None:
    def alternatives(limit: int) -> Any:
        every = [
            {"anyOf": [{"required": [f"p{n}"]}, {"properties": {f"q{n}": {"maximum": limit}}}]}
            for n in range(14)
        ]
        return {"type": "object", "allOf": every}

    # Either it is shown, or it is given up; it ends.
    assert not _compare(alternatives(2), alternatives(1)).is_compatible


@pytest.mark.parametrize("reference", ["#/$defs/none", "other.json", "#anchor"])
def test_a_reference_that_leads_nowhere(reference: str) -> None:
    assert _undecided(_compare({"type": "string"}, {"$ref": reference})) == ["json.reference_unresolved"]


def test_a_dynamic_reference() -> None:
    reader = {"$defs": {"n": {"$dynamicAnchor": "n", "type": "string"}}, "$dynamicRef": "#n"}
    assert _undecided(_compare({"type": "string"}, reader)) == ["json.dynamic_reference"]


def test_a_dialect_that_is_not_read() -> None:
    reader = {"$schema": "http://json-schema.org/draft-04/schema#", "type": "string"}
    assert _undecided(_compare({"type": "string"}, reader)) == ["json.dialect_unknown"]


def test_an_expression_that_python_does_not_read() -> None:
    writer = {"type": "string", "pattern": "^[a-z]+$"}
    assert _undecided(_compare(writer, {"pattern": r"^\p{Ll}+$"})) == ["json.pattern_narrowed"]


def test_references_between_documents() -> None:
    def order(amount: Document) -> Document:
        return _document(
            {
                "$id": "https://a.example/order.json",
                "properties": {"total": {"$ref": "amount.json#/$defs/amount"}},
            },
            **{"amount.json": amount},
        )

    currency = _document({"type": "string", "maxLength": 3})
    text = _document({"$defs": {"amount": {"type": "string"}}})
    number = _document({"$defs": {"amount": {"type": "number"}}})
    nested = _document({"$defs": {"amount": {"$ref": "currency.json"}}}, **{"currency.json": currency})
    assert compare(order(text), order(text)).is_compatible
    assert compare(order(nested), order(text)).is_compatible
    (problem,) = compare(order(text), order(number)).problems
    assert (problem.path, problem.rule) == ("/properties/total", "json.type_narrowed")
    assert problem.counterexample is not None
    assert problem.counterexample.value == {"total": ""}


def test_a_draft_07_writer_and_a_reader_of_today() -> None:
    writer = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "items": [{"type": "string"}],
        "additionalItems": False,
    }
    assert _compare(writer, {"prefixItems": [{"type": "string"}], "items": False}).is_compatible
    # The same text means two things: in 2020-12 there is no additionalItems.
    assert not _compare({"type": "array", "additionalItems": False}, writer).is_compatible


@pytest.mark.parametrize("keyword", ["if", "not", "allOf"])
def test_a_schema_that_applies_itself_again(keyword: str) -> None:
    inner: Any = {"$ref": "#"}
    reader = {keyword: [inner] if keyword == "allOf" else inner, "then": {"type": "string"}}
    assert _undecided(_compare({"type": "object"}, reader)) == ["json.reference_unresolved"]


def test_a_long_chain_of_references_to_the_same_instance_is_too_deep() -> None:
    definitions: dict[str, Any] = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(2_000)}
    reader = {"$defs": definitions | {"d2000": {"maximum": 1}}, "$ref": "#/$defs/d0"}
    assert _undecided(_compare({"maximum": 2}, reader)) == ["json.too_deep"]


def test_numbers_beyond_any_float() -> None:
    (problem,) = _compare({"type": "integer", "maximum": 10**400}, {"maximum": 10**399}).problems
    assert problem.counterexample is not None
    assert 10**399 < problem.counterexample.value <= 10**400


MANY = 10**9
LARGE = {
    "items": {"type": "array", "minItems": MANY},
    "contained": {"type": "array", "contains": {"const": 1}, "minContains": MANY},
    "unique": {"type": "array", "minItems": 600, "uniqueItems": True, "items": {"type": "string"}},
    "characters": {"type": "string", "minLength": MANY},
    "pattern": {"type": "string", "minLength": MANY, "pattern": "^a+$"},
    "properties": {"type": "object", "minProperties": MANY},
    "nested": {
        "type": "array",
        "minItems": 200,
        "items": {"type": "array", "minItems": 200, "items": {"type": "array", "minItems": 200}},
    },
    "long texts": {
        "type": "object",
        "properties": {f"p{n}": {"type": "string", "minLength": 90_000} for n in range(100)},
        "required": [f"p{n}" for n in range(100)],
    },
}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("within", [False, True])
def test_an_instance_too_large_to_be_built_is_undecided_soon(name: str, within: bool) -> None:
    def side(schema: Any) -> Any:
        return {"type": "object", "properties": {"a": schema}, "required": ["a"]} if within else schema

    began = time.process_time()
    verdict = _compare(side(LARGE[name]), side({"type": "integer"}))
    assert time.process_time() - began < 10.0
    (problem,) = verdict.problems
    if name == "unique":
        assert problem.counterexample is not None
        return
    assert (problem.rule, problem.undecided) == ("json.type_narrowed", True)
    assert "too large to be built: more than 20000 values" in problem.message


@pytest.mark.parametrize("name", ["contained", "characters", "long texts"])
def test_an_instance_too_large_to_be_built_takes_no_memory(name: str) -> None:
    tracemalloc.start()
    try:
        _compare(LARGE[name], {"type": "integer"})
        assert tracemalloc.get_traced_memory()[1] < 200 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("writer", "reader"),
    [
        ({"type": "array"}, {"minItems": MANY}),
        ({"type": "array"}, {"contains": {"type": "null"}, "minContains": MANY}),
        ({"type": "string"}, {"minLength": MANY}),
        ({"type": "object"}, {"minProperties": MANY}),
    ],
)
def test_a_reader_that_wants_very_much_is_refuted_by_little(writer: Any, reader: Any) -> None:
    (problem,) = _compare(writer, reader).problems
    assert problem.counterexample is not None
    assert len(problem.counterexample.value) <= 1


@pytest.mark.parametrize(
    "reader", [{"maxItems": MANY}, {"contains": True, "maxContains": MANY}, {"maxLength": MANY}]
)
def test_a_reader_that_bounds_very_much_is_undecided_soon(reader: Any) -> None:
    writer = {"type": ["array", "string"], "contains": True}
    (problem,) = _compare(writer, reader).problems
    assert problem.undecided


def test_what_stands_beside_a_problem_is_nearest_to_zero_and_shortest() -> None:
    named = {
        "a": {"type": "number", "minimum": -100, "maximum": 100},
        "b": {"type": "integer", "minimum": 12},
        "c": {"type": "number", "exclusiveMaximum": 0},
        "d": {"type": "string"},
        "e": {"enum": ["longer", "short"]},
        "f": {"type": "array"},
        "g": {"type": "integer", "multipleOf": 7, "exclusiveMinimum": 0},
        "h": {"type": "boolean"},
    }
    writer = {"type": "object", "properties": named, "required": list(named)}
    (problem,) = _compare(writer, {"properties": named | {"d": {"type": "integer"}}}).problems
    assert problem.counterexample is not None
    beside = {"a": 0, "b": 12, "c": -1, "d": "", "e": "short", "f": [], "g": 7, "h": True}
    assert problem.counterexample.value == beside
