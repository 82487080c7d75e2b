"""What is an Avro schema is read, what is none is refused with its place, and nothing else is ever raised."""

from __future__ import annotations

from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.schema.documents import Document, SchemaType
from qmtl.foundation.schema.wellformed import avro


def record(*fields: Any, **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": "R", "fields": list(fields), **more}


def field(kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": "f", "type": kind, **more}


ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
FIXED = {"type": "fixed", "name": "F", "size": 2}


@pytest.mark.parametrize(
    "value",
    [
        *("null", "boolean", "int", "long", "float", "double", "bytes", "string"),
        {"type": "string"},
        {"type": "long", "logicalType": "timestamp-millis"},
        {"type": "long", "logicalType": "no such thing"},
        {"type": "array", "items": {"type": "map", "values": ["null", "int"]}},
        [],
        ["null", {"type": "array", "items": "int"}, {"type": "map", "values": "int"}, ENUM, FIXED],
        record(),
        record(namespace="a.b", doc="d", aliases=["X", "c.Y"]),
        {"type": "record", "name": "a.b.R", "fields": [field(["null", "R"]), {"name": "g", "type": "a.b.R"}]},
        record(field(ENUM), {"name": "g", "type": "E"}),
        record(field("int", order="descending", aliases=["g"])),
        {**ENUM, "default": "B"},
        {**FIXED, "size": 0},
        {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2},
    ],
)
def test_a_schema_is_read(value: Any) -> None:
    avro.check(value, {})


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "None is no type"),
        (5, "5 is no type"),
        ({}, "no 'type'"),
        ("Foo", "'Foo' is not known"),
        ({"type": "Foo"}, "'Foo' is not known"),
        ({"type": ["int"]}, "write the type itself"),
        ({"type": {"type": "int"}}, "write the type itself"),
        ({"type": "array"}, "no 'items'"),
        ({"type": "map"}, "no 'values'"),
        (["int", "int"], "two branches of type 'int'"),
        (["int", {"type": "int", "logicalType": "date"}], "two branches of type 'int'"),
        ([{"type": "array", "items": "int"}, {"type": "array", "items": "long"}], "two branches"),
        (["null", ["int"]], "directly in a union"),
        ({"type": "fixed", "name": "F"}, "no size"),
        ({**FIXED, "size": -1}, "-1 is no size"),
        ({**FIXED, "size": True}, "True is no size"),
        ({**FIXED, "size": "2"}, "'2' is no size"),
        ({**ENUM, "symbols": []}, "no list of 'symbols'"),
        ({**ENUM, "symbols": "AB"}, "no list of 'symbols'"),
        ({**ENUM, "symbols": ["A", "A"]}, "a symbol twice"),
        ({**ENUM, "symbols": ["A b"]}, "'A b' is no symbol"),
        ({**ENUM, "symbols": [1]}, "1 is no symbol"),
        ({**ENUM, "default": "C"}, "'C' is none of the symbols"),
        ({**ENUM, "default": ["A"]}, "is none of the symbols"),
        ({"type": "enum", "symbols": ["A"]}, "None is no name for an enum"),
        ({"type": "record", "name": "R"}, "no list of 'fields'"),
        ({**record(), "fields": {}}, "no list of 'fields'"),
        ({**record(), "name": ""}, "'' is no name for a record"),
        ({**record(), "name": "1a"}, "'1a' is no name"),
        ({**record(), "name": "a..b"}, "'a..b' is no name"),
        ({**record(), "name": "int"}, "name of a primitive type"),
        (record(namespace="1.b"), "'1.b' is no namespace"),
        (record(namespace=5), "5 is no namespace"),
        (record(aliases="X"), "'aliases' is no list"),
        (record(aliases=["1"]), "'1' is no alias"),
        (record("f"), "'f' is no field"),
        (record({"type": "int"}), "None is no name for a field"),
        (record({"name": "a b", "type": "int"}), "'a b' is no name for a field"),
        (record({"name": "f"}), "at /R/f: the field has no 'type'"),
        (record(field("int"), field("int")), "the field 'f' is there twice"),
        (record(field("int", order="up")), "'up' is no order"),
        (record(field("int", aliases="x")), "'aliases' is no list"),
        (record(field(record())), "at /R/f: 'R' is defined twice"),
        (record(field("E"), {"name": "g", "type": ENUM}), "'E' is not known"),
        ({"type": "error", "name": "X", "fields": []}, "'error' is not known"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 1, "scale": 2}, "fastavro"),
    ],
)
def test_what_is_none_is_refused_with_its_place(value: Any, says: str) -> None:
    with pytest.raises(ValueError) as error:
        avro.check(value, {})
    assert says in str(error.value)


# The table of the specification: a value of the default, for each type, and values that are none.
DEFAULTS: list[tuple[Any, list[Any], list[Any]]] = [
    ("null", [None], [0, "null", False]),
    ("boolean", [True, False], [0, "true", None]),
    ("int", [0, -(2**31), 2**31 - 1], [2**31, 1.0, True, "1"]),
    ("long", [-(2**63), 2**63 - 1], [2**63, 1.5, None]),
    ("float", [1, 1.5], ["NaN", True, None]),
    ("double", [1, -0.0], ["1", False]),
    ("bytes", ["", "\u00ff"], ["\u0100", 1]),
    ("string", ["", "\u0100"], [1, None]),
    (FIXED, ["ab"], ["a", "abc", "\u0100a", 1]),
    (ENUM, ["A"], ["C", 0, None]),
    ({"type": "array", "items": "int"}, [[], [1, 2]], [["x"], {}, 1]),
    ({"type": "map", "values": "int"}, [{}, {"a": 1}], [{"a": "x"}, [], "a"]),
    (["null", "int"], [None, 1], ["x", 1.5]),
    ([], [], [None, 1, {}]),
    (
        {"type": "record", "name": "I", "fields": [field("int"), {"name": "g", "type": "int", "default": 2}]},
        [{"f": 1}, {"f": 1, "g": 3}],
        [{}, {"g": 1}, {"f": "x"}, [], {"f": 1, "g": "x"}],
    ),
]


@pytest.mark.parametrize(("kind", "good", "bad"), DEFAULTS, ids=[str(one[0])[:30] for one in DEFAULTS])
def test_a_default_is_a_value_of_its_type(kind: Any, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        avro.check(record(field(kind, default=value)), {})
    for value in bad:
        with pytest.raises(ValueError, match="at /R/f: the default"):
            avro.check(record(field(kind, default=value)), {})


def test_a_default_within_a_namespace_and_a_recursive_type() -> None:
    inner = {"type": "record", "name": "a.I", "fields": [field(["null", "I", "R"])]}
    avro.check({**record(field(inner, default={"f": {"f": None}})), "name": "a.R"}, {})
    with pytest.raises(ValueError, match=r"'a\.R' is not known"):
        avro.check(record(field(inner)), {})
    with pytest.raises(ValueError, match=r"at /R/f: the default"):
        avro.check({**record(field(inner, default={"f": {"f": 1}})), "name": "a.R"}, {})


def document(value: Any, **references: Document) -> Document:
    return Document(SchemaType.AVRO, value, references)


def test_names_of_references_are_known() -> None:
    price = document({"type": "record", "name": "m.Price", "fields": [field("double")]})
    level = document({"type": "record", "name": "m.Level", "fields": [field("m.Price")]}, price=price)
    book = record(field({"type": "array", "items": "m.Level"}), {"name": "last", "type": "m.Price"})
    avro.check(book, {"level": level})
    avro.check(book, {"price": price, "level": level})
    avro.check("m.Level", {"level": level})
    with pytest.raises(ValueError, match=r"at /R/last: the type 'm\.Trade' is not known"):
        avro.check(record({"name": "last", "type": "m.Trade"}), {"level": level})
    with pytest.raises(ValueError, match=r"'m\.Price' is defined twice"):
        avro.check(price.value, {"level": level})


words = st.sampled_from(
    [
        "int",
        "string",
        "record",
        "enum",
        "fixed",
        "array",
        "map",
        "R",
        "E",
        "a.R",
        "f",
        "",
        "1",
        "error",
        "date",
    ]
)
nodes: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 3), st.floats(allow_nan=False), words),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.fixed_dictionaries(
            {},
            optional={
                key: st.one_of(inner, words)
                for key in ("type", "name", "namespace", "fields", "items", "values", "symbols", "size",
                            "default", "aliases", "order", "logicalType", "precision", "scale", "doc")
            },
        ),
        st.builds(lambda fields: record(*fields), st.lists(inner, max_size=2)),
        st.builds(field, inner),
        st.builds(lambda kind, default: field(kind, default=default), inner, inner),
        st.builds(lambda items: {"type": "array", "items": items}, inner),
    ),
    max_leaves=12,
)  # fmt: skip


@given(nodes)
def test_any_value_is_read_or_refused(value: Any) -> None:
    try:
        avro.check(value, {})
    except ValueError:
        return
    fastavro.parse_schema(value, named_schemas={})
