"""The printed form of Avro: what tells two schemas apart in Confluent's registry, and what does not.

The expected texts follow from `Schema.parse` and `Schema.toJson` of Avro 1.12 for Java.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from qmtl.foundation.schema.canonical_form import forms
from qmtl.foundation.schema.documents import Schema
from qmtl.foundation.schema.wellformed import avro

BYTES = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
PRINTED = [
    ("a primitive type", {"type": "string"}, '"string"'),
    ("one with words of the specification", {"type": "string", "doc": "x", "name": "y", "size": 1},
     '"string"'),
    ("one with properties", {"scale": 2, "logicalType": "decimal", "precision": 9, "type": "bytes"},
     '{"type":"bytes","scale":2,"logicalType":"decimal","precision":9}'),
    ("an array", {"doc": "x", "items": {"type": "int"}, "b": 1, "type": "array", "a": 2},
     '{"type":"array","items":"int","b":1,"a":2}'),
    ("a map", {"values": ["null", {"type": "long"}], "type": "map", "default": {}},
     '{"type":"map","values":["null","long"],"default":{}}'),
    ("a fixed", {"size": 4, "p": 1, "aliases": ["G", "a.b.G", "c.H"], "doc": "d",
                 "namespace": "a.b", "name": "F", "type": "fixed", "default": "kept"},
     '{"type":"fixed","name":"F","namespace":"a.b","doc":"d","size":4,"p":1,"default":"kept",'
     '"aliases":["G","c.H"]}'),
    ("an enum", {"default": "B", "symbols": ["B", "A"], "p": None, "name": "x.E", "namespace": "y",
                 "type": "enum"},
     '{"type":"enum","name":"E","namespace":"x","symbols":["B","A"],"default":"B","p":null}'),
    ("documentation that is no text", {"type": "enum", "name": "E", "doc": 1, "symbols": ["A"]},
     '{"type":"enum","name":"E","symbols":["A"]}'),
    ("a record", {"fields": [], "aliases": ["Q"], "p": {"b": 1, "a": 2}, "doc": "", "name": "R",
                  "type": "record"},
     '{"type":"record","name":"R","doc":"","fields":[],"p":{"b":1,"a":2},"aliases":["Q"]}'),
    ("a field", {"type": "record", "name": "R", "fields": [
        {"q": 1, "aliases": ["b", "b"], "order": "IGNORE", "default": 1e7, "doc": "d",
         "type": {"type": "double"}, "name": "f", "namespace": "kept"},
        {"name": "g", "type": "null", "order": "ascending", "aliases": [], "default": None},
    ]},
     '{"type":"record","name":"R","fields":['
     '{"name":"f","type":"double","doc":"d","default":1.0E7,"order":"ignore","aliases":["b"],"q":1,"namespace":"kept"},'
     '{"name":"g","type":"null","default":null}]}'),
    ("names", {"type": "record", "name": "R", "namespace": "a", "fields": [
        {"name": "f", "type": {"type": "fixed", "name": "a.F", "size": 1}},
        {"name": "g", "type": "a.F"},
        {"name": "h", "type": {"type": "F", "dropped": 1}},
        {"name": "i", "type": {"type": "record", "name": "b.I", "fields": [
            {"name": "j", "type": ["null", "I", "a.R"]}]}},
        {"name": "k", "type": {"type": "fixed", "name": "K", "namespace": "", "size": 1}},
        {"name": "l", "type": {"type": "fixed", "name": "record", "size": 1}},
        {"name": "m", "type": "a.record"},
    ]},
     '{"type":"record","name":"R","namespace":"a","fields":['
     '{"name":"f","type":{"type":"fixed","name":"F","size":1}},'
     '{"name":"g","type":"F"},'
     '{"name":"h","type":"F"},'
     '{"name":"i","type":{"type":"record","name":"I","namespace":"b","fields":['
     '{"name":"j","type":["null","I","a.R"]}]}},'
     '{"name":"k","type":{"type":"fixed","name":"K","namespace":"","size":1}},'
     '{"name":"l","type":{"type":"fixed","name":"record","size":1}},'
     '{"name":"m","type":"a.record"}]}'),
]  # fmt: skip


def kept(value: Any) -> str:
    return forms.stored(Schema(json.dumps(value))).text


@pytest.mark.parametrize(("value", "text"), [row[1:] for row in PRINTED], ids=[row[0] for row in PRINTED])
def test_the_printed_form(value: Any, text: str) -> None:
    assert kept(value) == text
    assert kept(json.loads(text)) == text
    avro.check(json.loads(text), {})


def test_defaults_are_numbers_of_java() -> None:
    """Equal doubles are one default; a whole number is another."""

    def default(text: str) -> str:
        field = '{"name": "f", "type": "double", "default": ' + text + "}"
        return forms.stored(Schema('{"type": "record", "name": "R", "fields": [' + field + "]}")).text

    assert default("0.10") == default("1e-1") == default("0.1")
    assert default("1E6") == default("1000000.0")
    assert len({default("1"), default("1.0"), default("-1.0"), default("0.1")}) == 4


RECORD = {
    "type": "record",
    "name": "R",
    "namespace": "a",
    "doc": "d",
    "aliases": ["S", "T"],
    "p": 1,
    "q": [{"x": 1, "y": 2}],
    "fields": [
        {"name": "f", "type": ["null", BYTES], "default": None, "doc": "d", "aliases": ["s"],
         "order": "ignore"},
        {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"], "default": "A"}},
    ],
}  # fmt: skip


def changed() -> Iterator[tuple[str, Any]]:
    """The record, each time with one thing that counts changed."""
    f, e = RECORD["fields"]
    enum = e["type"]
    for what, more in (
        ("documentation", {"doc": "e"}),
        ("empty documentation", {"doc": ""}),
        ("another alias", {"aliases": ["S", "U"]}),
        ("the order of aliases", {"aliases": ["T", "S"]}),
        ("a property", {"p": 2}),
        ("the order inside of a property", {"q": [{"y": 2, "x": 1}]}),
        ("the namespace", {"namespace": "b"}),
        ("the order of fields", {"fields": [e, f]}),
        ("documentation of a field", {"fields": [{**f, "doc": "e"}, e]}),
        ("aliases of a field", {"fields": [{**f, "aliases": ["t"]}, e]}),
        ("the order of a field", {"fields": [{**f, "order": "descending"}, e]}),
        ("no default", {"fields": [{name: one for name, one in f.items() if name != "default"}, e]}),
        ("the order of a union", {"fields": [{**f, "type": [BYTES, "null"], "default": ""}, e]}),
        ("a logical type", {"fields": [{**f, "type": ["null", {**BYTES, "precision": 8}]}, e]}),
        ("the order of properties", {"fields": [
            {**f, "type": ["null", {name: BYTES[name] for name in reversed(BYTES)}]}, e]}),
        ("symbols", {"fields": [f, {**e, "type": {**enum, "symbols": ["B", "A"]}}]}),
        ("the default of an enum", {"fields": [f, {**e, "type": {**enum, "default": "B"}}]}),
    ):  # fmt: skip
        yield what, {**RECORD, **more}
    yield "the order of properties of a type", {name: RECORD[name] for name in ("q", *RECORD)}


@pytest.mark.parametrize(
    ("what", "value"), list(changed()), ids=lambda one: one if isinstance(one, str) else ""
)
def test_what_counts(what: str, value: Any) -> None:
    assert kept(value) != kept(RECORD)


def test_what_normalize_takes_for_the_same_beyond_that() -> None:
    def normal(value: Any) -> str:
        return forms.normal(Schema(json.dumps(value))).text

    found = {what for what, value in changed() if normal(value) == normal(RECORD)}
    assert found == {
        "the order of aliases",
        "the order inside of a property",
        "the order of properties",
        "the order of properties of a type",
    }
    assert normal({**RECORD, "doc": ""}) == normal({name: RECORD[name] for name in RECORD if name != "doc"})
    assert json.loads(normal({**RECORD, "aliases": ["T", "a.S"]}))["aliases"] == ["S", "T"]
