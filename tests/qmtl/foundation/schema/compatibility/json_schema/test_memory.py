"""What earlier comparisons left behind changes no verdict, is changed by nobody, and stays bounded."""

from __future__ import annotations

import copy
import gc
import json
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmtl.foundation.schema.bounded_cache import BoundedCache
from qmtl.foundation.schema.compatibility.json_schema import compare, node, schema_document
from qmtl.foundation.schema.compatibility.json_schema.constraints.cases import Cases
from qmtl.foundation.schema.compatibility.json_schema.instances import examples
from qmtl.foundation.schema.compatibility.json_schema.instances.examples import Examples
from qmtl.foundation.schema.compatibility.json_schema.node import Term
from qmtl.foundation.schema.compatibility.verdict import Verdict
from qmtl.foundation.schema.documents import Document, SchemaType

MEMORIES = ((schema_document, "_documents"), (node, "_accepting"), (examples, "_known_examples"))


def document(value: Any) -> Document:
    return Document(SchemaType.JSON, value)


def forget() -> None:
    for module, name in MEMORIES:
        getattr(module, name).clear()


@pytest.fixture
def all_documents(evolutions: list[Any]) -> list[tuple[Document, Document]]:
    pairs = [(document(old), document(new)) for _, old, new, _, _ in evolutions]
    return [*pairs, *((new, old) for old, new in pairs)]


@pytest.mark.parametrize("order", [list, reversed, lambda pairs: pairs[1::2] + pairs[::2]])
def test_no_verdict_depends_on_what_was_asked_before(
    all_documents: list[tuple[Document, Document]], order: Callable[[Any], Iterator[Any]]
) -> None:
    cold = []
    for writer, reader in all_documents:
        forget()
        cold.append(compare(writer, reader))
    forget()
    for writer, reader in order(all_documents):
        compare(writer, reader)
    assert sum(map(len, (examples._known_examples, schema_document._documents))) > 100
    assert [compare(writer, reader) for writer, reader in all_documents] == cold
    assert [compare(copy.deepcopy(w), copy.deepcopy(r)) for w, r in all_documents] == cold


def test_properties_are_confirmed_one_by_one_as_all_together(
    all_documents: list[tuple[Document, Document]], monkeypatch: pytest.MonkeyPatch
) -> None:
    forget()
    monkeypatch.setattr(node, "_MANY_PROPERTIES", 10_000)
    together = [compare(writer, reader) for writer, reader in all_documents]
    forget()
    monkeypatch.setattr(node, "_MANY_PROPERTIES", 1)
    assert [compare(writer, reader) for writer, reader in all_documents] == together
    assert len(node._accepting) > 20


def test_jsonschema_says_the_same_of_objects_piece_by_piece(
    judge: Any, random_schemas: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "_MANY_PROPERTIES", 1)
    stated: dict[bool, int] = {True: 0, False: 0}

    @settings(max_examples=150, suppress_health_check=list(HealthCheck))
    @given(
        named=st.dictionaries(st.sampled_from("abcd"), random_schemas.schemas, min_size=1),
        around=st.sampled_from(
            [{}, {"additionalProperties": False}, {"unevaluatedProperties": False}, {"maxProperties": 2}]
        ),
        instances=st.lists(st.dictionaries(st.sampled_from("abcd"), random_schemas.instances), max_size=10),
    )
    def check(named: Any, around: Any, instances: list[Any]) -> None:
        schema = {"properties": named, **around}
        root = schema_document.SchemaDocument(document(schema)).root
        for instance in [*instances, *instances]:
            expected = judge.accepts(schema, instance)
            assert root.confirms(instance) is expected
            stated[expected] += 1

    check()
    assert min(stated.values()) > 50


def test_a_part_that_was_met_deep_inside_is_whole_at_the_surface() -> None:
    def around(levels: int, inner: Any) -> Any:
        for _ in range(levels):
            inner = {"type": "object", "properties": {"a": inner}, "required": ["a"]}
        return inner

    def values(schema: Any) -> list[Any]:
        return list(Examples(Cases()).of((Term(schema_document.open_document(document(schema)).root),), 4))

    part = {"anyOf": [{"type": "integer"}, around(4, {"type": "integer"})]}
    forget()
    expected = values(part)
    assert {type(value) for value in expected} == {int, dict}
    for levels in range(22, 31):
        forget()
        values(around(levels, part))
        assert values(part) == expected


def test_what_a_caller_changes_stays_with_the_caller() -> None:
    names = [f"p{number}" for number in range(10)]
    parts: dict[str, Any] = {name: {"type": "array", "items": {"enum": [["x"], {}]}} for name in names}
    writer = document({"type": "object", "properties": parts, "required": names})
    wanted = {"type": "array", "contains": {"type": "object", "required": ["z"]}}
    reader = document({"properties": {**parts, "p3": wanted}, "minProperties": 11})
    forget()
    before = compare(writer, reader)
    expected = copy.deepcopy(before)
    for _ in range(2):
        for problem in before.problems:
            spoil(problem.counterexample and problem.counterexample.value)
            spoil(problem.reader)
            spoil(problem.writer)
        before = compare(writer, reader)
        assert before == expected


def spoil(value: Any) -> None:
    inside = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    for one in list(inside):
        spoil(one)
    if isinstance(value, dict):
        value["spoiled"] = True
    elif isinstance(value, list):
        value.append("spoiled")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    room = 5_000
    for module, name in MEMORIES:
        monkeypatch.setattr(module, name, BoundedCache(room))

    def version(number: int) -> Document:
        named = {f"p{n}": {"type": "string", "maxLength": 20 * number + n + 1} for n in range(10)}
        return document({"type": "object", "properties": named, "required": list(named)})

    alive = []
    for number in range(100, 0, -1):
        reader = version(number)
        verdict: Verdict = compare(version(number + 1), reader)
        assert len(verdict.problems) == 10
        alive.append(weakref.ref(schema_document.open_document(reader)))
    # A document and its places hold each other.
    gc.collect()
    most = room // len(json.dumps(version(1).value)) + 3
    assert sum(one() is not None for one in alive) <= most
    assert 0 < len(examples._known_examples) < room / 20
    assert 0 < len(node._accepting) < room / 20


def test_what_new_schemas_lead_an_old_one_to_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_document, "_MOST_DERIVED", 20)
    old = document({"type": "object"})
    seen = []
    for number in range(100):
        kept = schema_document.open_document(old)
        # As a comparison does that asks for objects with some property.
        kept.root.derive({"required": [f"n{number}"]})
        seen.append(kept.derived)
    assert max(seen) == 21
