"""Random pairs of schemas: fastavro's real resolution is the oracle, for every verdict in both directions."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import fastavro
from hypothesis import event, given, settings
from hypothesis import strategies as st

from qmtl.foundation.schema.compatibility.avro import compare
from qmtl.foundation.schema.compatibility.avro.deviations import deviations_in
from qmtl.foundation.schema.compatibility.avro.reading import steps
from qmtl.foundation.schema.compatibility.avro.smallest import Chosen
from qmtl.foundation.schema.compatibility.avro.understanding import understand

Draw = Callable[[st.SearchStrategy[Any]], Any]

PRIMITIVES = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
NAMES = ["m.A", "m.B", "m.C", "n.A", "n.B"]
FIELDS = ["a", "b", "c", "d"]
SYMBOLS = ["X", "Y", "Z"]
DEFAULTS = {
    "null": None,
    "boolean": True,
    "int": 7,
    "long": 7,
    "float": 0.5,
    "double": 0.5,
    "bytes": "z",
    "string": "z",
}


def union_key(schema: Any) -> str:
    """A union holds each key once: its name for a named type, else its type."""
    return schema if isinstance(schema, str) else schema.get("name", schema["type"])


class Schemas:
    """Draws a schema whose names are few, so that they meet, recur, and contain themselves."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.defined: list[str] = []

    def any(self, depth: int = 3, without: frozenset[str] = frozenset()) -> Any:
        kinds = ["primitive", "array", "map", "enum", "fixed", "record", "record", "named", "union"]
        kind = self.draw(st.sampled_from([kind for kind in kinds if kind not in without]))
        if kind == "named" and self.defined:
            return self.draw(st.sampled_from(self.defined))
        free = [name for name in NAMES if name not in self.defined]
        if kind in ("primitive", "named") or depth == 0 or not free:
            return self.draw(st.sampled_from(PRIMITIVES))
        if kind == "array":
            return {"type": "array", "items": self.any(depth - 1)}
        if kind == "map":
            return {"type": "map", "values": self.any(depth - 1)}
        if kind == "union":
            return self.union(depth)
        name = self.draw(st.sampled_from(free))
        self.defined.append(name)
        aliases = self.draw(st.lists(st.sampled_from(["A", "B", "C", *NAMES]), max_size=2))
        named: dict[str, Any] = {"type": kind, "name": name, "aliases": aliases}
        if kind == "fixed":
            return named | {"size": self.draw(st.integers(1, 2))}
        if kind == "enum":
            symbols = self.draw(st.lists(st.sampled_from(SYMBOLS), min_size=1, unique=True))
            has_default = self.draw(st.booleans())
            return named | {"symbols": symbols} | ({"default": symbols[0]} if has_default else {})
        fields = self.draw(st.lists(st.sampled_from(FIELDS), max_size=3, unique=True))
        return named | {"fields": [self.field(name, depth - 1) for name in fields]}

    def union(self, depth: int) -> list[Any]:
        branches: dict[str, Any] = {}
        for _ in range(self.draw(st.integers(0, 4))):
            branch = self.any(depth - 1, frozenset({"union", *branches}))
            branches.setdefault(union_key(branch), branch)
        return list(branches.values())

    def field(self, name: str, depth: int) -> dict[str, Any]:
        type_ = self.any(depth)
        aliases = self.draw(st.lists(st.sampled_from(FIELDS), max_size=1))
        field = {"name": name, "type": type_} | ({"aliases": aliases} if aliases else {})
        if isinstance(type_, str) and type_ in DEFAULTS and self.draw(st.booleans()):
            field["default"] = DEFAULTS[type_]
        return field


class NothingToWrite(Exception):
    """A value would be too deep, or there is none."""


class Values:
    """Draws a value of a schema that fastavro has parsed; branches of unions are pairs."""

    def __init__(self, draw: Draw, names: dict[str, Any]) -> None:
        self.draw = draw
        self.names = names

    def any(self, schema: Any, fuel: int = 8) -> Any:
        if fuel == 0:
            raise NothingToWrite
        if isinstance(schema, list):
            return self.branch(schema, fuel)
        kind = schema["type"] if isinstance(schema, dict) else schema
        if kind in PRIMITIVES:
            return self.primitive(kind)
        if kind == "array":
            return self.several(schema["items"], fuel)
        if kind == "map":
            return dict(zip("kl", self.several(schema["values"], fuel), strict=False))
        if kind == "enum":
            return self.draw(st.sampled_from(schema["symbols"]))
        if kind == "fixed":
            return self.draw(st.binary(min_size=schema["size"], max_size=schema["size"]))
        if kind == "record":
            return {field["name"]: self.any(field["type"], fuel - 1) for field in schema["fields"]}
        return self.any(self.names[kind], fuel)

    def several(self, schema: Any, fuel: int) -> list[Any]:
        try:
            return [self.any(schema, fuel - 1) for _ in range(self.draw(st.integers(0, 2)))]
        except NothingToWrite:
            return []

    def branch(self, union: list[Any], fuel: int) -> Chosen:
        for branch in self.draw(st.permutations(union)):
            try:
                return Chosen(union_key(branch), self.any(branch, fuel))
            except NothingToWrite:
                continue
        raise NothingToWrite

    def primitive(self, kind: str) -> Any:
        strategies: dict[str, st.SearchStrategy[Any]] = {
            "null": st.none(),
            "boolean": st.booleans(),
            "int": st.integers(-(2**31), 2**31 - 1),
            "long": st.integers(-(2**63), 2**63 - 1),
            "float": st.floats(width=32),
            "double": st.floats(),
            # Read as text they are to be UTF-8: that not all bytes are is told by a notice.
            "bytes": st.text(max_size=3).map(str.encode),
            "string": st.text(max_size=3),
        }
        return self.draw(strategies[kind])


@st.composite
def schemas(draw: Draw) -> Any:
    return Schemas(draw).any()


@settings(max_examples=150)
@given(schemas(), schemas(), st.data())
def test_any_two_schemas(library: Any, document: Any, writer: Any, reader: Any, data: st.DataObject) -> None:
    """Few of them fit; where fastavro does not agree, a deviation that is written down explains it."""
    check(library, document, writer, reader, data)


def check(library: Any, document: Any, writer: Any, reader: Any, data: st.DataObject) -> None:
    written, read = document(writer), document(reader)
    verdict = compare(written, read)
    types = understand(written).root, understand(read).root
    assert not any(problem.undecided for problem in verdict.problems), verdict
    event(f"compatible: {verdict.is_compatible}")
    names: dict[str, Any] = {}
    parsed, target = fastavro.parse_schema(writer, names), fastavro.parse_schema(reader)
    for problem in verdict.problems:
        assert problem.counterexample is not None
        assert problem.counterexample.value == json.loads(json.dumps(problem.counterexample.value))
        says = library.says(writer, reader, problem.counterexample.value)
        if says != "refused":
            event(f"deviates: {says}")
            datum = as_chosen(library.decode(problem.counterexample.value, parsed, names), parsed, names)
            met = list(steps(*types, datum))
            assert deviations_in(met, "read" if says == "read" else "stumbled"), (says, problem)
            assert not all(step.is_readable for step in met)
    if verdict.is_compatible:
        for _ in range(3):
            try:
                datum = Values(data.draw, names).any(parsed)
            except NothingToWrite:
                return
            met = list(steps(*types, datum))
            assert all(step.is_readable for step in met)
            says = library.reads(parsed, target, datum)
            if says != "read":
                event(f"deviates: {says}")
                assert deviations_in(met, "refused" if says == "refused" else "stumbled"), (says, datum)


def as_chosen(value: Any, schema: Any, names: dict[str, Any]) -> Any:
    if isinstance(value, tuple):
        branch = next(branch for branch in schema if union_key(branch) == value[0])
        return Chosen(value[0], as_chosen(value[1], branch, names))
    if isinstance(schema, str) and schema in names:
        schema = names[schema]
    if isinstance(value, list):
        return [as_chosen(item, schema["items"], names) for item in value]
    if isinstance(value, dict) and schema["type"] == "map":
        return {key: as_chosen(item, schema["values"], names) for key, item in value.items()}
    if isinstance(value, dict):
        types = {field["name"]: field["type"] for field in schema["fields"]}
        return {name: as_chosen(item, types[name], names) for name, item in value.items()}
    return value
