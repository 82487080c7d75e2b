"""What earlier comparisons left behind changes no verdict, and stays bounded."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import pytest

from qmtl.foundation.schema.bounded_cache import BoundedCache
from qmtl.foundation.schema.compatibility.avro import compare, schema_document

LEAVES: list[Any] = [
    "int",
    "long",
    "string",
    ["null", "double"],
    {"type": "array", "items": "int"},
    {"type": "map", "values": ["null", {"type": "enum", "name": "E", "symbols": ["A", "B"]}]},
    {"type": "enum", "name": "E", "symbols": ["A"]},
    {"type": "fixed", "name": "F", "size": 3},
    {"type": "long", "logicalType": "timestamp-millis"},
    {"type": "record", "name": "Inner", "fields": [{"name": "x", "type": ["null", "Inner"]}]},
]


def versions() -> list[Any]:
    """A record of each leaf, alone and beside others."""
    single = [[{"name": "a", "type": leaf}] for leaf in LEAVES]
    pairs = [[*fields, {"name": "b", "type": "string", "default": ""}] for fields in single]
    return [{"type": "record", "name": "R", "fields": fields} for fields in (*single, *pairs)]


def test_no_verdict_depends_on_what_was_asked_before(document: Any) -> None:
    documents = [document(version) for version in versions()]
    pairs = [(writer, reader) for writer in documents for reader in documents]
    cold = []
    for writer, reader in pairs:
        schema_document._documents.clear()
        cold.append(compare(writer, reader))
    assert {verdict.is_compatible for verdict in cold} == {True, False}
    for order in (pairs, pairs[::-1]):
        schema_document._documents.clear()
        for writer, reader in order:
            compare(writer, reader)
        assert len(schema_document._documents) == len(documents)
        assert [compare(writer, reader) for writer, reader in pairs] == cold
    assert [compare(copy.deepcopy(writer), copy.deepcopy(reader)) for writer, reader in pairs] == cold


def test_what_a_caller_changes_stays_with_the_caller(document: Any) -> None:
    def side(leaf: str) -> Any:
        inner = {"type": "record", "name": "I", "fields": [{"name": "x", "type": leaf}]}
        fields = [{"name": "list", "type": {"type": "array", "items": "int"}}, {"name": "i", "type": inner}]
        return document({"type": "record", "name": "R", "fields": fields})

    writer, reader = side("int"), side("string")
    (problem,) = compare(writer, reader).problems
    expected = copy.deepcopy(problem)
    assert problem.counterexample is not None
    problem.counterexample.value["list"].append("spoiled")
    problem.counterexample.value["i"]["x"] = "spoiled"
    assert compare(writer, reader).problems == (expected,)


def test_memory_is_bounded(document: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_document, "_documents", BoundedCache(100))
    alive = []
    for number in range(100):
        fields = [{"name": f"f{number}_{n}", "type": "int"} for n in range(8)]
        one = document({"type": "record", "name": "R", "fields": fields})
        assert not compare(one, document("int")).is_compatible
        alive.append(weakref.ref(schema_document.open_document(one)))
    gc.collect()
    assert 0 < sum(one() is not None for one in alive) <= 12
