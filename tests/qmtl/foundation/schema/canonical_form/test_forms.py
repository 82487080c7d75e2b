"""Texts that mean the same have one normal form and one identity, and a change of meaning changes both."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastavro.schema import SchemaParseException, parse_schema, to_parsing_canonical_form
from hypothesis import assume, given
from hypothesis import strategies as st

from qmtl.foundation.schema.canonical_form import forms
from qmtl.foundation.schema.documents import Reference, Schema, SchemaType
from qmtl.foundation.schema.wellformed import avro


def schema(value: Any, kind: SchemaType = SchemaType.AVRO, *references: Reference) -> Schema:
    return Schema(json.dumps(value), kind, references)


def normal(value: Any, kind: SchemaType = SchemaType.AVRO) -> Any:
    return json.loads(forms.normal(schema(value, kind)).text)


def inner(name: str) -> Any:
    """A record `b.I` that calls itself by this name."""
    return {"type": "record", "name": "b.I", "fields": [{"name": "j", "type": name}]}


def test_a_json_schema_is_kept_as_it_was_sent_but_for_space_and_escapes() -> None:
    text = '{ "type" : "object",\n "title": "a \\u0062 \\u00e9  c", "multipleOf": 0.10, "maximum": 1e2 }'
    expected = '{"type":"object","title":"a b é  c","multipleOf":0.10,"maximum":1E+2}'
    assert forms.stored(Schema(text, SchemaType.JSON)).text == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1,"b":2}', '{"b":2,"a":1}'),
        ('{"multipleOf":0.1}', '{"multipleOf":0.10}'),
        ('{"multipleOf":1}', '{"multipleOf":1.0}'),
        ('{"maximum":100.0}', '{"maximum":1e2}'),
    ],
)
def test_order_and_digits_tell_json_schemas_apart(one: str, other: str) -> None:
    first, second = (Schema(text, SchemaType.JSON) for text in (one, other))
    assert forms.identity(forms.stored(first)) != forms.identity(forms.stored(second))
    assert (forms.normal(first) == forms.normal(second)) is ("a" in one[:3])


def test_identity_is_of_type_text_and_references() -> None:
    first = Reference("A", "a", 1)
    same = [Schema("{}"), Schema("{}", references=())]
    others = [
        Schema("{ }"),
        Schema("{}", SchemaType.JSON),
        Schema("{}", references=(first,)),
        Schema("{}", references=(first._replace(version=2),)),
        Schema("{}", references=(first, Reference("B", "b", 1))),
        Schema("{}", references=(Reference("B", "b", 1), first)),
    ]
    assert len(set(map(forms.identity, same))) == 1
    assert len(set(map(forms.identity, same + others))) == 1 + len(others)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"type": "string"}, "string"),
        ({"type": "string", "avro.java.string": "String"}, {"type": "string", "avro.java.string": "String"}),
        ({"type": "array", "items": {"type": "int"}}, {"type": "array", "items": "int"}),
        (["null", {"type": "map", "values": {"type": "long"}}], ["null", {"type": "map", "values": "long"}]),
        (
            {"type": "fixed", "name": "F", "namespace": "a.b", "size": 1, "aliases": ["G", "c.H"]},
            {"type": "fixed", "name": "a.b.F", "size": 1, "aliases": ["a.b.G", "c.H"]},
        ),
        (
            {"type": "enum", "name": "c.E", "namespace": "ignored", "symbols": ["A"], "default": "A"},
            {"type": "enum", "name": "c.E", "symbols": ["A"], "default": "A"},
        ),
        (
            {
                "type": "record",
                "name": "R",
                "namespace": "a",
                "doc": "kept",
                "fields": [
                    {"name": "f", "type": {"type": "int", "logicalType": "date"}, "default": {"type": "int"}},
                    {"name": "g", "type": ["null", "R"], "aliases": ["h"]},
                    {"name": "i", "type": inner("I")},
                    {"name": "k", "type": {"type": "fixed", "name": "K", "namespace": "", "size": 1}},
                ],
            },
            {
                "type": "record",
                "name": "a.R",
                "doc": "kept",
                "fields": [
                    {"name": "f", "type": {"type": "int", "logicalType": "date"}, "default": {"type": "int"}},
                    {"name": "g", "type": ["null", "a.R"], "aliases": ["h"]},
                    {"name": "i", "type": inner("b.I")},
                    {"name": "k", "type": {"type": "fixed", "name": "K", "namespace": "", "size": 1}},
                ],
            },
        ),
    ],
)  # fmt: skip
def test_what_a_bundle_says_of_avro(value: Any, expected: Any) -> None:
    """Its SHA stands in audit logs, so this never changes."""
    assert json.loads(forms.bundle_text(schema(value))) == ["AVRO", expected, []]


def test_references_are_in_order_and_none_is_lost() -> None:
    first, second = Reference("A", "a", 1), Reference("B", "b", 2)
    one = forms.normal(schema("int", SchemaType.AVRO, second, first))
    assert one == forms.normal(schema("int", SchemaType.AVRO, first, second, first))
    assert one.references == (first, second)
    assert forms.bundle_text(one) == '["AVRO","int",[["A","a",1],["B","b",2]]]'


def test_json_values_inside_a_schema_are_no_avro() -> None:
    value = {"type": {"type": "string"}, "items": {"type": "int", "namespace": "a"}, "fields": [1]}
    assert normal(value, SchemaType.JSON) == value


names = st.sampled_from(["A", "B", "x.A", "x.y.C", "y.B"])
spaces = st.one_of(st.none(), st.sampled_from(["", "x", "x.y", "y"]))


@st.composite
def avro_schemas(draw: st.DrawFn, depth: int = 3) -> Any:
    """Schemas of Avro, with names and namespaces in many spellings; some are not well formed."""
    kinds = ["plain", "object", "name"] + (["array", "map", "union", "record", "enum"] if depth else [])
    kind = draw(st.sampled_from(kinds))
    plain = draw(st.sampled_from(["int", "string", "null", "double"]))
    if kind == "plain":
        return plain
    if kind == "object":
        return {
            "type": plain,
            **draw(st.sampled_from([{}, {}, {"logicalType": "date"}, {"x": {"type": "int"}}])),
        }
    if kind == "name":
        return draw(st.one_of(names, names.map(lambda name: {"type": name})))
    if kind == "array":
        return {"type": "array", "items": draw(avro_schemas(depth - 1))}
    if kind == "map":
        return {"values": draw(avro_schemas(depth - 1)), "type": "map"}
    if kind == "union":
        return draw(st.lists(avro_schemas(depth - 1), max_size=3))
    named: dict[str, Any] = {"name": draw(names)}
    space = draw(spaces)
    if space is not None:
        named["namespace"] = space
    if kind == "enum":
        return {"type": "enum", **named, "symbols": ["P", "Q"]}
    fields = draw(st.lists(avro_schemas(depth - 1), max_size=3))
    return {
        "type": "record",
        **named,
        "fields": [{"name": f"f{n}", "type": one} for n, one in enumerate(fields)],
    }


def is_schema(value: Any) -> bool:
    """Whether it is one, of which fastavro can write the Parsing Canonical Form."""
    try:
        avro.check(value, {})
        form(value)
    except ValueError:
        return False
    except SchemaParseException:  # it forgets an empty namespace, and meets another name then
        return False
    return True


@given(avro_schemas())
def test_the_forms_of_avro_are_a_schema_that_means_the_same(value: Any) -> None:
    assume(is_schema(value))
    # fastavro writes the Parsing Canonical Form by itself.
    for reported in (json.loads(forms.stored(schema(value)).text), normal(value)):
        avro.check(reported, {})
        assert form(reported) == form(value)
    assert normal(normal(value)) == normal(value)


@given(avro_schemas(), st.randoms(use_true_random=False))
def test_the_order_of_avros_own_words_does_not_tell_apart(value: Any, random: Any) -> None:
    # No type here has more than one property of its own.
    assert forms.stored(schema(shuffled(value, random))) == forms.stored(schema(value))


@given(st.recursive(st.none() | st.integers() | st.sampled_from(["record", "int", "x", ""]), lambda inner: (
    st.lists(inner) | st.dictionaries(st.sampled_from(
        ["type", "name", "namespace", "fields", "items", "symbols", "aliases", "default", "order"]), inner)
)))  # fmt: skip
def test_what_is_no_schema_is_not_made_one(value: Any) -> None:
    """Whatever is sent, it is kept in some form, and that form is the same once more."""
    reported = forms.stored(schema(value))
    assert forms.stored(reported) == reported


def form(value: Any) -> str:
    text: str = to_parsing_canonical_form(parse_schema(value, named_schemas={}))
    return text


def shuffled(value: Any, random: Any) -> Any:
    if isinstance(value, dict):
        items = [(name, shuffled(inner, random)) for name, inner in value.items()]
        random.shuffle(items)
        return dict(items)
    return [shuffled(inner, random) for inner in value] if isinstance(value, list) else value


@given(avro_schemas(), st.randoms(use_true_random=False), st.sampled_from(list(SchemaType)))
def test_space_and_the_order_of_names_do_not_matter(value: Any, random: Any, kind: SchemaType) -> None:
    other = Schema(json.dumps(shuffled(value, random), indent=3), kind)
    one = schema(value, kind)
    assert forms.normal(other) == forms.normal(one)
    assert forms.bundle_text(other) == forms.bundle_text(one)
    spaced = forms.stored(Schema(json.dumps(value, indent=1), kind))
    assert forms.identity(spaced) == forms.identity(forms.stored(one))


@given(avro_schemas(), avro_schemas())
def test_another_meaning_has_another_normal_form(value: Any, other: Any) -> None:
    assume(is_schema(value) and is_schema(other) and form(value) != form(other))
    assert forms.normal(schema(value)) != forms.normal(schema(other))
    assert forms.bundle_text(schema(value)) != forms.bundle_text(schema(other))
