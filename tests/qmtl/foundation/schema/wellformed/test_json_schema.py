"""What is a JSON Schema is read, what is none is refused, and every `$ref` leads to a schema."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from qmtl.foundation.schema.documents import Document, SchemaType
from qmtl.foundation.schema.wellformed import json_schema
from qmtl.foundation.schema.wellformed.json_schema import DRAFT_07, DRAFT_2020_12


def document(value: Any) -> Document:
    return Document(SchemaType.JSON, value)


@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        {},
        {"type": "object", "properties": {"$ref": {"type": "string"}}},
        {"$schema": DRAFT_07 + "#", "items": [{"type": "string"}], "dependencies": {"a": ["b"]}},
        {"$schema": DRAFT_07, "definitions": {"a": {}}, "$ref": "#/definitions/a"},
        {"$schema": DRAFT_2020_12, "$defs": {"a": {"$anchor": "here"}}, "$ref": "#here"},
        {"$ref": "#"},
        {"properties": {"child": {"$ref": "#"}}},
        {"$dynamicRef": "#node", "$defs": {"a": {"$dynamicAnchor": "node"}}},
        {"$id": "http://example.com/a.json", "$defs": {"b": {"$id": "b.json"}}, "$ref": "b.json"},
        {"$ref": DRAFT_07 + "#"},
        {"const": {"$ref": "#/nowhere"}, "default": {"$ref": 3}, "enum": [{"$ref": "#/nowhere"}]},
        {"x-unit": "ns", "format": "no such format"},
        {"$ref": "#/x/part", "x": {"part": {"type": "string"}}},
    ],
)
def test_a_schema_is_read(value: Any) -> None:
    json_schema.check(value, {})


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "an object, true or false"),
        ([], "an object, true or false"),
        ("string", "an object, true or false"),
        ({"type": "text"}, "at /type"),
        ({"properties": {"a": {"minimum": "1"}}}, "at /properties/a/minimum"),
        ({"required": ["a", "a"]}, "at /required"),
        ({"items": [{}]}, "at /items"),
        ({"pattern": "("}, "at /pattern"),
        ({"patternProperties": {"(": {}}}, "'('"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "draft-04"),
        ({"$schema": "http://example.com/mine"}, "read are"),
        ({"$schema": 7}, "$schema is 7"),
        ({"$ref": "#/nowhere"}, "leads nowhere"),
        ({"$ref": "#gone"}, "leads nowhere"),
        ({"$ref": "other.json"}, "leads nowhere"),
        ({"properties": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}}}, "'#/$defs/b' leads nowhere"),
        ({"$dynamicRef": "#gone"}, "leads nowhere"),
        ({"$ref": "#/title", "title": "x"}, "which is no schema"),
        ({"$ref": "#/x", "x": {"type": "text"}}, "at /type"),
        ({"$ref": "#/x", "x": {"y": {"$ref": "#/z"}, "not": {"$ref": "#/x/y"}}}, "'#/z' leads nowhere"),
    ],
)
def test_what_is_none_is_refused(value: Any, says: str) -> None:
    with pytest.raises(ValueError) as error:
        json_schema.check(value, {})
    assert says in str(error.value), str(error.value)


def test_a_reference_is_found_by_its_name() -> None:
    price = document({"type": "number", "$defs": {"positive": {"minimum": 0}}})
    for name, value in (
        ("price.json", {"properties": {"open": {"$ref": "price.json"}}}),
        ("price.json", {"$ref": "price.json#/$defs/positive"}),
        ("price.json", {"$id": "http://example.com/bar.json", "$ref": "price.json"}),
        ("http://example.com/price.json", {"$id": "http://example.com/bar.json", "$ref": "price.json"}),
        ("price.json", {"$schema": DRAFT_07, "items": {"$ref": "price.json"}}),
    ):
        json_schema.check(value, {name: price})
        with pytest.raises(ValueError, match="leads nowhere"):
            json_schema.check(value, {"other.json": price})


words = st.sampled_from(
    ["#", "#/", "#/a", "#/$defs/a", "#a", "a", "http://[", "string", "(", "^a", "", DRAFT_07]
)
nodes: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1, 3), words),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["$ref", "$id", "$schema", "$defs", "$anchor", "$dynamicRef", "a", "type", "properties",
                 "items", "allOf", "not", "enum", "const", "pattern", "required", "minimum", "definitions",
                 "default"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)  # fmt: skip


@given(nodes, st.booleans())
def test_any_value_is_read_or_refused(value: Any, old: bool) -> None:
    if isinstance(value, dict) and old:
        value = {**value, "$schema": DRAFT_07}
    try:
        json_schema.check(value, {"a": document({"a": {}})})
    except ValueError:
        return
    kind = Draft7Validator if old and isinstance(value, dict) else Draft202012Validator
    kind.check_schema(value)
