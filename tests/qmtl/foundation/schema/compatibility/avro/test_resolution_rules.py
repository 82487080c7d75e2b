"""Each rule of the specification's schema resolution, by its wording; fastavro is asked anew each time."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from qmtl.foundation.schema.compatibility.avro import compare

PROMOTED = {
    "int": ["long", "float", "double"],
    "long": ["float", "double"],
    "float": ["double"],
    "string": ["bytes"],
    "bytes": ["string"],
}
PRIMITIVES = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]


def record(name: str, *fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields), **more}


def field(name: str, type_: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type_, **more}


def enum(name: str, *symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": name, "symbols": list(symbols), **more}


def fixed(name: str, size: int, **more: Any) -> dict[str, Any]:
    return {"type": "fixed", "name": name, "size": size, **more}


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def map_(values: Any) -> dict[str, Any]:
    return {"type": "map", "values": values}


class Case(NamedTuple):
    """`problems` is a list of path, rule and instance; empty where all can be read."""

    wording: str
    writer: Any
    reader: Any
    problems: list[tuple[str, str, Any]]


NODE = record("Node", field("value", "int"), field("next", ["null", "Node"]))
LONG_NODE = record("Node", field("value", "long"), field("next", ["null", "Node"]))
TEXT_NODE = record("Node", field("next", ["null", "Node"]), field("value", "string"))
UNFOUNDED = record("Loop", field("again", "Loop"))
LEVEL = record("Level", field("price", "double"))
BAR = record("com.acme.Bar", field("price", "double"), field("levels", array(LEVEL)))

MATCHING = [
    Case("both schemas are arrays whose item types match", array("int"), array("long"), []),
    Case(
        "both schemas are arrays whose item types match",
        array("int"),
        array("string"),
        [("/[]", "avro.type_mismatch", [0])],
    ),
    Case("both schemas are maps whose value types match", map_("int"), map_("double"), []),
    Case(
        "both schemas are maps whose value types match",
        map_("int"),
        map_("boolean"),
        [("/{}", "avro.type_mismatch", {"key": 0})],
    ),
    Case("an array is no map", array("int"), map_("int"), [("/", "avro.type_mismatch", [])]),
    Case("both schemas are enums whose (unqualified) names match", enum("a.E", "X"), enum("b.E", "X"), []),
    Case(
        "both schemas are enums whose (unqualified) names match",
        enum("E", "X"),
        enum("F", "X"),
        [("/E", "avro.name_mismatch", "X")],
    ),
    Case(
        "both schemas are fixed whose sizes and (unqualified) names match",
        fixed("a.F", 2),
        fixed("b.F", 2),
        [],
    ),
    Case(
        "both schemas are fixed whose sizes and (unqualified) names match",
        fixed("F", 2),
        fixed("F", 3),
        [("/F", "avro.fixed_size_mismatch", "\x00\x00")],
    ),
    Case(
        "both schemas are fixed whose sizes and (unqualified) names match",
        fixed("F", 1),
        fixed("G", 1),
        [("/F", "avro.name_mismatch", "\x00")],
    ),
    Case("both schemas are records with the same (unqualified) name", record("a.R"), record("b.R"), []),
    Case(
        "both schemas are records with the same (unqualified) name",
        record("R"),
        record("S"),
        [("/R", "avro.name_mismatch", {})],
    ),
    Case("a fixed is no bytes", fixed("F", 1), "bytes", [("/F", "avro.type_mismatch", "\x00")]),
    Case("an enum is no string", enum("E", "X"), "string", [("/E", "avro.type_mismatch", "X")]),
    Case("a string is no enum", "string", enum("E", "X"), [("/", "avro.type_mismatch", "")]),
]

ALIASES = [
    Case("the reader's alias of a type", record("m.Foo"), record("m.Bar", aliases=["Foo"]), []),
    Case("an alias in full", record("old.Foo"), record("new.Bar", aliases=["old.Foo"]), []),
    Case("an alias of an enum", enum("Foo", "X"), enum("Bar", "X", aliases=["Foo"]), []),
    Case("an alias of a fixed", fixed("Foo", 1), fixed("Bar", 1, aliases=["Foo"]), []),
    Case(
        "the writer's alias is not asked for",
        record("Foo", aliases=["Bar"]),
        record("Bar"),
        [("/Foo", "avro.name_mismatch", {})],
    ),
    Case(
        "the reader's alias of a field",
        record("R", field("x", "int")),
        record("R", field("y", "long", aliases=["x"])),
        [],
    ),
    Case(
        "the type of a renamed field is resolved",
        record("R", field("x", "int")),
        record("R", field("y", "string", aliases=["x"])),
        [("/R/x", "avro.type_mismatch", {"x": 0})],
    ),
    Case(
        "the writer's alias of a field is not asked for",
        record("R", field("x", "int", aliases=["y"])),
        record("R", field("y", "int")),
        [("/R/y", "avro.default_missing", {"x": 0})],
    ),
    Case(
        "what was written once feeds one field",
        record("R", field("x", "int")),
        record("R", field("y", "int", aliases=["x"]), field("z", "int", aliases=["x"])),
        [("/R/z", "avro.default_missing", {"x": 0})],
    ),
    Case(
        "a field whose name is there is not renamed",
        record("R", field("x", "int")),
        record("R", field("x", "int"), field("y", "int", aliases=["x"])),
        [("/R/y", "avro.default_missing", {"x": 0})],
    ),
]

RECORDS = [
    Case(
        "the ordering of fields may be different: fields are matched by name",
        record("R", field("a", "int"), field("b", "string")),
        record("R", field("b", "string"), field("a", "int")),
        [],
    ),
    Case(
        "schemas for fields with the same name in both records are resolved recursively",
        BAR,
        record("com.acme.Bar", field("price", "string"), field("levels", array(LEVEL))),
        [("/Bar/price", "avro.type_mismatch", {"price": 0.0, "levels": []})],
    ),
    Case(
        "schemas for fields with the same name in both records are resolved recursively",
        BAR,
        record(
            "com.acme.Bar",
            field("price", "double"),
            field("levels", array(record("Level", field("price", "long"), field("size", "int")))),
        ),
        [
            ("/Bar/levels/[]/size", "avro.default_missing", {"price": 0.0, "levels": [{"price": 0.0}]}),
            ("/Bar/levels/[]/price", "avro.type_mismatch", {"price": 0.0, "levels": [{"price": 0.0}]}),
        ],
    ),
    Case(
        "a field with a name not present in the reader's record is ignored",
        record("R", field("a", "int"), field("b", "string")),
        record("R", field("a", "int")),
        [],
    ),
    Case(
        "the reader should use the default value from its field",
        record("R", field("a", "int")),
        record("R", field("a", "int"), field("b", ["null", "string"], default=None)),
        [],
    ),
    Case(
        "a field with no default value: an error is signalled",
        record("R", field("a", "int")),
        record("R", field("a", "int"), field("b", ["null", "string"])),
        [("/R/b", "avro.default_missing", {"a": 0})],
    ),
    Case("a type that contains itself", NODE, LONG_NODE, []),
    Case(
        "a type that contains itself is judged once",
        NODE,
        TEXT_NODE,
        [("/Node/value", "avro.type_mismatch", {"value": 0, "next": None})],
    ),
]

ENUMS = [
    Case("symbols may be added", enum("E", "X"), enum("E", "X", "Y"), []),
    Case("symbols may be reordered", enum("E", "X", "Y"), enum("E", "Y", "X"), []),
    Case(
        "the writer's symbol is not present in the reader's enum: an error is signalled",
        enum("E", "X", "Y", "Z"),
        enum("E", "X"),
        [("/E", "avro.symbol_missing", "Y")],
    ),
    Case(
        "and the reader has a default value, then that value is used",
        enum("E", "X", "Y"),
        enum("E", "X", default="X"),
        [],
    ),
    Case(
        "the writer's default is not asked for",
        enum("E", "X", "Y", default="X"),
        enum("E", "X"),
        [("/E", "avro.symbol_missing", "Y")],
    ),
    Case(
        "the default of a field is none for a symbol",
        record("R", field("e", enum("E", "X", "Y"))),
        record("R", field("e", enum("E", "X"), default="X")),
        [("/R/e", "avro.symbol_missing", {"e": "Y"})],
    ),
]

UNIONS = [
    Case("if both are unions, the first that matches", ["null", "int"], ["string", "long", "null"], []),
    Case(
        "if none match, an error is signalled",
        ["null", "int", "string"],
        ["null", "long"],
        [("/string", "avro.branch_missing", {"string": ""})],
    ),
    Case("if reader's is a union, but writer's is not", "int", ["null", "double"], []),
    Case(
        "if reader's is a union, but writer's is not: if none match, an error is signalled",
        "boolean",
        ["null", "double"],
        [("/", "avro.branch_missing", False)],
    ),
    Case("if writer's is a union, but reader's is not", ["int", "long"], "double", []),
    Case(
        "if writer's is a union, but reader's is not: if they do not match, an error is signalled",
        ["null", "int"],
        "int",
        [("/null", "avro.branch_mismatch", None)],
    ),
    Case(
        "the first that matches is recursively resolved, though a later one would do",
        record("R", field("a", "int")),
        ["null", record("x.R", field("b", "int")), record("y.R", field("a", "int"))],
        [("/R/b", "avro.default_missing", {"a": 0})],
    ),
    Case(
        "a record of another name and the same structure does not match",
        ["null", record("A", field("a", "int"))],
        ["null", record("B", field("a", "int"))],
        [("/A", "avro.branch_missing", {"A": {"a": 0}})],
    ),
    Case(
        "a named branch is shown by its full name",
        ["null", record("m.A", field("a", "int"))],
        ["null", record("m.A", field("a", "string"))],
        [("/A/a", "avro.type_mismatch", {"m.A": {"a": 0}})],
    ),
    Case(
        "two branches of one unqualified name: the first that matches hides the second",
        [record("x.R", field("a", "int")), record("y.R", field("b", "int"))],
        [record("x.R", field("a", "int")), record("y.R", field("b", "int")), "null"],
        [("/y.R/a", "avro.default_missing", {"y.R": {"b": 0}})],
    ),
    Case(
        "an array in a union matches as its items do",
        ["null", array("int")],
        ["null", array("string")],
        [("/array", "avro.branch_missing", {"array": []})],
    ),
    Case("all of a narrower union", ["null", "int"], ["null", "int", "string"], []),
]

NAMESPACES = [
    Case(
        "a name is completed by the namespace around it",
        record("m.R", field("a", record("S")), field("b", "S"), field("c", "m.S")),
        record(
            "R", field("a", record("S", namespace="m")), field("b", "m.S"), field("c", "m.S"), namespace="m"
        ),
        [],
    ),
    Case(
        "an alias is completed by the namespace of its type",
        record("R", field("s", record("Old")), namespace="m"),
        record("R", field("s", record("New", aliases=["Old"])), namespace="m"),
        [],
    ),
]

NOTHING_TO_WRITE = [
    Case("a union of nothing", [], "int", []),
    Case("a record that contains itself unconditionally", UNFOUNDED, "int", []),
    Case("a field of nothing", record("R", field("a", [])), "int", []),
    Case("a branch that nothing can be written for", ["null", UNFOUNDED], "null", []),
    Case("a bare array of nothing can be read as one of anything", array([]), array("int"), []),
    Case(
        "both schemas are arrays whose item types match: an error even for the only one, that is empty",
        array(UNFOUNDED),
        array("int"),
        [("/", "avro.type_mismatch", [])],
    ),
]

CASES = [*MATCHING, *ALIASES, *RECORDS, *ENUMS, *UNIONS, *NAMESPACES, *NOTHING_TO_WRITE]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.wording)
def test_the_wording(library: Any, document: Any, case: Case) -> None:
    verdict = compare(document(case.writer), document(case.reader))
    assert [
        (problem.path, problem.rule, problem.counterexample and problem.counterexample.value)
        for problem in verdict.problems
    ] == case.problems
    assert verdict.is_compatible == (not case.problems)
    for _, _, instance in case.problems:
        assert library.says(case.writer, case.reader, instance) == "refused"


@pytest.mark.parametrize("writer", PRIMITIVES)
@pytest.mark.parametrize("reader", PRIMITIVES)
def test_promotions(library: Any, document: Any, writer: str, reader: str) -> None:
    """Both schemas have the same primitive type, or the writer's may be promoted to the reader's."""
    smallest = {"null": None, "boolean": False, "bytes": "", "string": "", "float": 0.0, "double": 0.0}
    verdict = compare(document(writer), document(reader))
    if writer == reader or reader in PROMOTED.get(writer, []):
        assert verdict.is_compatible
        assert library.says(writer, reader, smallest.get(writer, 0)) == "read"
    else:
        (problem,) = verdict.problems
        assert problem.counterexample is not None
        assert problem.counterexample.value == smallest.get(writer, 0)
        assert library.says(writer, reader, problem.counterexample.value) == "refused"
        assert problem.message == (
            f"/: {writer} is written, and {reader} cannot read it (avro.type_mismatch)"
        )
    is_text = {writer, reader} == {"bytes", "string"}
    assert [notice.rule for notice in verdict.notices] == ["avro.bytes_and_string"] * is_text


def test_the_same_schema_needs_no_resolution(library: Any, document: Any) -> None:
    """Even where one branch of a union would hide behind another; and `doc` is ignored."""
    union = [record("x.R", field("a", "int")), record("y.R", field("b", "int"))]
    reported = [record("x.R", field("a", "int")), record("y.R", field("b", "int"), doc="the second")]
    assert compare(document(union), document(union)).is_compatible
    assert compare(document(union), document(reported)).is_compatible
    assert library.says(union, union, {"y.R": {"b": 0}}) == "read"


def test_both_sides_are_shown(document: Any) -> None:
    """As JSON values, without the fields of records; a side that has nothing there shows nothing."""
    verdict = compare(
        document(record("m.R", field("a", {"type": "long", "logicalType": "timestamp-millis"}))),
        document(record("m.R", field("a", ["null", record("S", field("x", "int"))]), field("b", "int"))),
    )
    missing, mismatch = verdict.problems
    assert (missing.writer, missing.reader) == (None, {"name": "b", "type": "int"})
    assert mismatch.writer == {"type": "long", "logicalType": "timestamp-millis"}
    assert mismatch.reader == ["null", {"type": "record", "name": "m.S"}]
    assert mismatch.message == (
        "/R/a: long (timestamp-millis) is written, and no branch of the reader's union of null and "
        "record m.S matches it (avro.branch_missing)"
    )
