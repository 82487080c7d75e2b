"""Evolutions as people make them, at random: fastavro must agree with every verdict, without exception."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import fastavro
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from qmtl.foundation.schema.compatibility.avro import compare

Draw = Callable[[st.SearchStrategy[Any]], Any]
Schema = dict[str, Any]

PRIMITIVES = ["boolean", "int", "long", "float", "double", "bytes", "string"]
PROMOTED = {"int": "long", "long": "double", "float": "double", "string": "bytes", "bytes": "string"}
DEFAULTS = {"boolean": True, "int": 7, "long": 7, "float": 0.5, "double": 0.5, "bytes": "z", "string": "z"}


class Schemas:
    """Draws a record of records, every name only once; a record may refer to itself in a union."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.count = 0

    def name(self, letter: str) -> str:
        self.count += 1
        return f"{letter}{self.count}"

    def record(self, depth: int = 2) -> Schema:
        name = f"market.{self.name('R')}"
        fields = [self.field(depth) for _ in range(self.draw(st.integers(1, 3)))]
        if self.draw(st.booleans()):
            fields.append({"name": self.name("f"), "type": ["null", name], "default": None})
        return {"type": "record", "name": name, "fields": fields}

    def field(self, depth: int) -> Schema:
        return {"name": self.name("f"), "type": self.type(depth)}

    def type(self, depth: int) -> Any:
        kind = self.draw(st.sampled_from(["primitive", "enum", "fixed", "array", "map", "union", "record"]))
        if kind == "primitive" or depth == 0:
            return self.draw(st.sampled_from(PRIMITIVES))
        if kind == "record":
            return self.record(depth - 1)
        if kind == "enum":
            return {"type": "enum", "name": self.name("E"), "symbols": ["X", "Y", "Z"]}
        if kind == "fixed":
            return {"type": "fixed", "name": self.name("F"), "size": 2}
        if kind == "union":
            inner = self.draw(st.sampled_from(["int", "string"]) | st.builds(self.record, st.just(depth - 1)))
            return self.draw(st.permutations(["null", inner]))
        return {"type": kind, {"array": "items", "map": "values"}[kind]: self.type(depth - 1)}


def parts(schema: Any) -> Iterator[Schema]:
    """All named types and fields within, each a dict that may be changed."""
    if isinstance(schema, list):
        for branch in schema:
            yield from parts(branch)
    elif isinstance(schema, dict):
        yield from [schema] if "name" in schema else []
        for key in ("items", "values"):
            yield from parts(schema.get(key))
        if isinstance(schema.get("type"), list | dict):
            yield from parts(schema["type"])
        for field in schema.get("fields", []):
            yield from parts(field)


def of_type(schema: Schema, *kinds: str) -> list[Schema]:
    return [part for part in parts(schema) if part["type"] in kinds]


def records(schema: Schema) -> list[Schema]:
    return of_type(schema, "record")


def fields(schema: Schema) -> list[Schema]:
    return [field for record in records(schema) for field in record["fields"]]


def add_a_field(schema: Schema, draw: Draw) -> None:
    record = draw(st.sampled_from(records(schema)))
    type_ = draw(st.sampled_from(PRIMITIVES))
    record["fields"].insert(0, {"name": "added", "type": type_, "default": DEFAULTS[type_]})


def add_a_field_without_default(schema: Schema, draw: Draw) -> None:
    draw(st.sampled_from(records(schema)))["fields"].append({"name": "new", "type": "long"})


def drop_a_field(schema: Schema, draw: Draw) -> None:
    draw(st.sampled_from(records(schema)))["fields"].pop(0)


def reorder(schema: Schema, draw: Draw) -> None:
    draw(st.sampled_from(records(schema)))["fields"].reverse()


def promote(schema: Schema, draw: Draw) -> None:
    field = draw(st.sampled_from(fields(schema)))
    if isinstance(field["type"], str) and field["type"] in PROMOTED and "default" not in field:
        field["type"] = PROMOTED[field["type"]]


def change_a_type(schema: Schema, draw: Draw) -> None:
    field = draw(st.sampled_from(fields(schema)))
    if "default" not in field:
        field["type"] = draw(st.sampled_from(PRIMITIVES))


def rename_a_field(schema: Schema, draw: Draw) -> None:
    draw(st.sampled_from(fields(schema)))["name"] += "_renamed"


def rename_a_field_with_alias(schema: Schema, draw: Draw) -> None:
    field = draw(st.sampled_from(fields(schema)))
    field["aliases"] = [field["name"], *field.get("aliases", [])]
    field["name"] += "_aliased"


def rename_a_type(schema: Schema, draw: Draw) -> None:
    types = of_type(schema, "enum", "fixed")
    for type_ in types[:1]:
        type_["name"] += "Renamed"
        if draw(st.booleans()):
            type_["aliases"] = [type_["name"].removesuffix("Renamed"), *type_.get("aliases", [])]


def widen(schema: Schema, draw: Draw) -> None:
    field = draw(st.sampled_from(fields(schema)))
    if not isinstance(field["type"], list):
        field["type"] = ["null", field["type"]]
    elif "boolean" not in field["type"]:
        field["type"].append("boolean")


def narrow(schema: Schema, draw: Draw) -> None:
    for field in fields(schema):
        if isinstance(field["type"], list) and "default" not in field:
            field["type"] = field["type"][-1]
            return


def change_symbols(schema: Schema, draw: Draw) -> None:
    for enum in of_type(schema, "enum"):
        enum["symbols"] = draw(st.lists(st.sampled_from(["X", "Y", "Z", "W"]), min_size=1, unique=True))
        enum.pop("default", None)
        if draw(st.booleans()):
            enum["default"] = enum["symbols"][0]


def resize(schema: Schema, draw: Draw) -> None:
    for fixed in of_type(schema, "fixed"):
        fixed["size"] += 1


EVOLUTIONS = [
    add_a_field,
    add_a_field_without_default,
    drop_a_field,
    reorder,
    promote,
    change_a_type,
    rename_a_field,
    rename_a_field_with_alias,
    rename_a_type,
    widen,
    narrow,
    change_symbols,
    resize,
]


def evolve(schema: Schema, draw: Draw) -> Schema:
    evolved = copy.deepcopy(schema)
    for change in draw(st.lists(st.sampled_from(EVOLUTIONS), min_size=1, max_size=3, unique=True)):
        if all(record["fields"] for record in records(evolved)):
            change(evolved, draw)
            event(change.__name__)
    return evolved


def value(schema: Any, names: Schema, draw: Draw, fuel: int = 6) -> Any:
    """A value of a parsed schema; branches of unions as pairs."""
    if isinstance(schema, list):
        branch = draw(st.sampled_from(["null"] if fuel <= 0 and "null" in schema else schema))
        name = branch if isinstance(branch, str) else branch.get("name", branch["type"])
        return (name, value(branch, names, draw, fuel - 1))
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind == "record":
        return {field["name"]: value(field["type"], names, draw, fuel - 1) for field in schema["fields"]}
    if kind == "array":
        return [value(schema["items"], names, draw, fuel - 1)] * draw(st.integers(0, 2))
    if kind == "map":
        return {"k": value(schema["values"], names, draw, fuel - 1)}
    if kind in names:
        return value(names[kind], names, draw, fuel)
    if kind == "enum":
        return draw(st.sampled_from(schema["symbols"]))
    primitives: dict[str, st.SearchStrategy[Any]] = {
        "null": st.none(),
        "boolean": st.booleans(),
        "int": st.integers(-(2**31), 2**31 - 1),
        "long": st.integers(-(2**63), 2**63 - 1),
        "float": st.floats(width=32),
        "double": st.floats(),
        # Read as text they are to be UTF-8; that not all bytes are is what the notice tells.
        "bytes": st.text(max_size=3).map(str.encode),
        "string": st.text(max_size=3),
    }
    return draw(primitives[kind]) if kind in primitives else bytes(schema["size"])


@st.composite
def schemas(draw: Draw) -> Schema:
    return Schemas(draw).record()


@pytest.mark.slow
@settings(max_examples=200)
@given(schemas(), st.booleans(), st.data())
def test_fastavro_agrees(
    library: Any, document: Any, schema: Schema, is_forward: bool, data: st.DataObject
) -> None:
    pair = (schema, evolve(schema, data.draw))
    writer, reader = reversed(pair) if is_forward else pair
    verdict = compare(document(writer), document(reader))
    event(f"compatible: {verdict.is_compatible}")
    names: Schema = {}
    parsed, target = fastavro.parse_schema(writer, names), fastavro.parse_schema(reader)
    for problem in verdict.problems:
        assert not problem.undecided, problem
        assert problem.counterexample is not None
        assert library.says(writer, reader, problem.counterexample.value) == "refused", problem
    for _ in range(3 if verdict.is_compatible else 0):
        datum = value(parsed, names, data.draw)
        assert library.reads(parsed, target, datum) == "read", datum
    positions = [(problem.path, problem.rule) for problem in verdict.problems]
    assert len(set(positions)) == len(positions), "one problem for each path and rule"


@given(schemas(), st.data())
def test_what_is_always_allowed(document: Any, schema: Schema, data: st.DataObject) -> None:
    evolved = copy.deepcopy(schema)
    change = data.draw(
        st.sampled_from([add_a_field, reorder, promote, rename_a_field_with_alias, widen, drop_a_field])
    )
    change(evolved, data.draw)
    assert compare(document(schema), document(evolved)).is_compatible
