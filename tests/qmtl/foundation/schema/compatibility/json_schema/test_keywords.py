"""Keyword by keyword: what is compatible, what is not and by which rule. Instances are confirmed anew."""

from __future__ import annotations

from typing import Any

import pytest

from qmtl.foundation.schema.compatibility.json_schema import RULES

DRAFT_07 = "http://json-schema.org/draft-07/schema#"
A_NODE = {"type": "object", "properties": {"next": {"$ref": "#"}, "value": {"type": "integer"}}}
CAT = {
    "type": "object",
    "properties": {"is": {"const": "cat"}, "lives": {"type": "integer"}},
    "required": ["is"],
}
DOG = {
    "type": "object",
    "properties": {"is": {"const": "dog"}, "barks": {"type": "boolean"}},
    "required": ["is"],
}

# writer, reader, rules in the order in which they are told; none: compatible.
CASES: dict[str, tuple[Any, Any, list[str]]] = {
    "equal": ({"type": "string"}, {"type": "string"}, []),
    "true reads all": ({"type": "string"}, True, []),
    "the empty schema reads all": ({"type": "string"}, {}, []),
    "false writes nothing": (False, {"type": "string"}, []),
    "bounds that cross write nothing": (
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"type": "null"},
        [],
    ),
    "no integer between": ({"type": "integer", "minimum": 0.2, "maximum": 0.8}, {"type": "null"}, []),
    "an object that needs what is refused writes nothing": (
        {"type": "object", "required": ["a"], "properties": {"a": False}},
        {"type": "null"},
        [],
    ),
    "an endless object writes nothing": (
        {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]},
        {"type": "null"},
        [],
    ),
    "false reads nothing": ({"type": "string"}, False, ["json.nothing_accepted"]),
    "anything is not a string": (True, {"type": "string"}, ["json.type_narrowed"]),
    # Types.
    "integer within number": ({"type": "integer"}, {"type": "number"}, []),
    "number beyond integer": ({"type": "number"}, {"type": "integer"}, ["json.type_narrowed"]),
    "1.0 is an integer": ({"const": 1.0}, {"type": "integer"}, []),
    "true is no integer": ({"const": True}, {"type": "integer"}, ["json.type_narrowed"]),
    "multiples of 1 are integers": ({"type": "number", "multipleOf": 1}, {"type": "integer"}, []),
    "null added": ({"type": ["string", "null"]}, {"type": "string"}, ["json.type_narrowed"]),
    "types listed otherwise": (
        {"type": ["string", "null"]},
        {"anyOf": [{"type": "null"}, {"type": "string"}]},
        [],
    ),
    # Values.
    "enum widened": ({"enum": ["a"]}, {"enum": ["a", "b"]}, []),
    "enum narrowed": ({"enum": ["a", "b"]}, {"enum": ["a"]}, ["json.enum_narrowed"]),
    "const added": ({"type": "string"}, {"const": "a"}, ["json.const_changed"]),
    "const changed": ({"const": "a"}, {"const": "b"}, ["json.const_changed"]),
    "const 1 is not true": ({"const": 1}, {"const": True}, ["json.const_changed"]),
    "const 1 is 1.0": ({"const": 1}, {"const": 1.0}, []),
    "const of objects": ({"const": {"a": [1]}}, {"const": {"a": [1.0]}}, []),
    "const of arrays": ({"const": [1]}, {"const": [True]}, ["json.const_changed"]),
    "a listed value against a bound": (
        {"enum": [1, 5]},
        {"type": "integer", "maximum": 3},
        ["json.value_refused"],
    ),
    "booleans listed": ({"type": "boolean"}, {"enum": [True, False]}, []),
    "an enum that the type empties": ({"type": "string", "enum": [1, 2]}, {"type": "null"}, []),
    # Numbers.
    "minimum raised": ({"minimum": 0}, {"minimum": 1}, ["json.minimum_raised"]),
    "minimum lowered": ({"minimum": 1}, {"minimum": 0}, []),
    "minimum becomes exclusive": ({"minimum": 0}, {"exclusiveMinimum": 0}, ["json.minimum_raised"]),
    "integers above 0": ({"type": "integer", "exclusiveMinimum": 0}, {"minimum": 1}, []),
    "numbers above 0": ({"type": "number", "exclusiveMinimum": 0}, {"minimum": 1}, ["json.minimum_raised"]),
    "maximum lowered": ({"maximum": 11}, {"maximum": 10}, ["json.maximum_lowered"]),
    "integers below 10": ({"type": "integer", "exclusiveMaximum": 10}, {"maximum": 9}, []),
    "even numbers below 10": ({"multipleOf": 2, "exclusiveMaximum": 10}, {"maximum": 8}, []),
    "multiples of 10 among those of 5": ({"multipleOf": 10}, {"multipleOf": 5}, []),
    "multiples of 5 not of 10": ({"multipleOf": 5}, {"multipleOf": 10}, ["json.multiple_of_narrowed"]),
    "multiples of 2 and 3": ({"allOf": [{"multipleOf": 2}, {"multipleOf": 3}]}, {"multipleOf": 6}, []),
    "halves of integers": ({"type": "integer"}, {"multipleOf": 0.5}, []),
    "cents in tenths of cents, as computers count": (
        {"type": "number", "multipleOf": 0.01},
        {"multipleOf": 0.001},
        ["json.multiple_of_narrowed"],
    ),
    # Strings.
    "longer strings": ({"type": "string", "maxLength": 3}, {"maxLength": 2}, ["json.max_length_lowered"]),
    "shorter strings": ({"type": "string", "minLength": 1}, {"minLength": 2}, ["json.min_length_raised"]),
    "an expression implies a length": (
        {"type": "string", "pattern": r"\A[A-Z]{3}\Z"},
        {"minLength": 3, "maxLength": 3},
        [],
    ),
    "a dollar lets a newline in": (
        {"type": "string", "pattern": "^[A-Z]{3}$"},
        {"maxLength": 3},
        ["json.max_length_lowered"],
    ),
    "lengths as an expression": ({"type": "string", "minLength": 2}, {"pattern": "(.|\n){2}"}, []),
    "expression narrowed": (
        {"type": "string", "pattern": "^a"},
        {"pattern": "^ab"},
        ["json.pattern_narrowed"],
    ),
    "expression widened": ({"type": "string", "pattern": "^ab"}, {"pattern": "^a"}, []),
    "digits of other scripts": (
        {"type": "string", "pattern": r"^\d+$"},
        {"pattern": "^[0-9]+$"},
        ["json.pattern_narrowed"],
    ),
    "an expression that is not looked into": (
        {"type": "string", "pattern": r"^(?=a)a\b"},
        {"pattern": r"^(?=a)a\b"},
        [],
    ),
    "format is an annotation": ({"type": "string"}, {"type": "string", "format": "uuid"}, []),
    "content is an annotation": (
        {"type": "string"},
        {"contentEncoding": "base64", "contentMediaType": "text/csv"},
        [],
    ),
    # Objects.
    "required a, then b": ({"required": ["a"]}, {"required": ["b"]}, ["json.required_added"]),
    "required dropped": ({"type": "object", "required": ["a"]}, {"type": "object"}, []),
    "two differences": (
        {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
            "required": ["a", "b"],
        },
        {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string", "maxLength": 4}}},
        ["json.type_narrowed", "json.max_length_lowered"],
    ),
    "a typed property in an open object": (
        {"type": "object"},
        {"properties": {"a": {"type": "string"}}},
        ["json.type_narrowed"],
    ),
    "closed": (
        {"type": "object", "properties": {"a": True}},
        {"type": "object", "additionalProperties": False},
        ["json.property_refused", "json.property_refused"],
    ),
    "closed on both sides": (
        {"type": "object", "properties": {"a": True}, "additionalProperties": False},
        {"type": "object", "properties": {"a": True, "b": {"type": "null"}}, "additionalProperties": False},
        [],
    ),
    "others narrowed": (
        {"type": "object", "additionalProperties": {"type": "number"}},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        ["json.type_narrowed"],
    ),
    "patternProperties narrowed": (
        {"type": "object", "patternProperties": {"^x": {"type": "number"}}},
        {"type": "object", "patternProperties": {"^x": {"type": "integer"}}},
        ["json.type_narrowed"],
    ),
    "patternProperties reach a property": (
        {"type": "object", "properties": {"xa": {"type": "string"}}, "additionalProperties": False},
        {"type": "object", "patternProperties": {"^x": {"type": "integer"}}},
        ["json.type_narrowed"],
    ),
    "patternProperties that match nothing there": (
        {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False},
        {"type": "object", "patternProperties": {"^x": {"type": "integer"}}},
        [],
    ),
    "names narrowed": (
        {"type": "object"},
        {"propertyNames": {"maxLength": 3}},
        ["json.property_names_narrowed"],
    ),
    "names of known properties": (
        {"type": "object", "properties": {"long": True}, "additionalProperties": False},
        {"propertyNames": {"maxLength": 3}},
        ["json.property_names_narrowed"],
    ),
    "listed names": (
        {"type": "object", "propertyNames": {"enum": ["a", "b"]}},
        {"type": "object", "properties": {"a": True, "b": True}, "additionalProperties": False},
        [],
    ),
    "fewer properties": (
        {"type": "object", "minProperties": 1},
        {"minProperties": 2},
        ["json.min_properties_raised"],
    ),
    "more properties": (
        {"type": "object", "maxProperties": 2},
        {"maxProperties": 1},
        ["json.max_properties_lowered"],
    ),
    "a closed object has so many": (
        {"type": "object", "properties": {"a": True, "b": True}, "additionalProperties": False},
        {"maxProperties": 2},
        [],
    ),
    "beside another": (
        {"type": "object"},
        {"dependentRequired": {"a": ["b"]}},
        ["json.dependent_required_added"],
    ),
    "beside another, by way of a third": (
        {"type": "object", "dependentRequired": {"a": ["b"], "b": ["c"]}},
        {"dependentRequired": {"a": ["c"]}},
        [],
    ),
    "a schema beside a property": (
        {"type": "object", "dependentSchemas": {"a": {"required": ["b"]}}},
        {"dependentRequired": {"a": ["b"]}},
        [],
    ),
    "a schema beside a property, asked": (
        {"type": "object"},
        {"dependentSchemas": {"a": {"required": ["b"]}}},
        ["json.required_added"],
    ),
    "dependencies of draft-07": (
        {"$schema": DRAFT_07, "type": "object", "dependencies": {"a": ["b"], "c": {"required": ["d"]}}},
        {"dependentRequired": {"a": ["b"], "c": ["d"]}},
        [],
    ),
    "unevaluated, behind a reference": (
        {
            "$defs": {"base": {"properties": {"a": True}}},
            "type": "object",
            "$ref": "#/$defs/base",
            "unevaluatedProperties": False,
        },
        {"type": "object", "properties": {"a": True}, "additionalProperties": False},
        [],
    ),
    "unevaluated, narrowed": (
        {"type": "object", "properties": {"a": True, "b": True}, "additionalProperties": False},
        {"allOf": [{"properties": {"a": True}}], "unevaluatedProperties": False},
        ["json.property_refused"],
    ),
    # Arrays.
    "items narrowed": ({"type": "array"}, {"items": {"type": "integer"}}, ["json.type_narrowed"]),
    "a longer tuple": (
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "string"}]},
        {"prefixItems": [{"type": "string"}, {"type": "integer"}]},
        ["json.type_narrowed"],
    ),
    "a tuple that ends": (
        {"type": "array", "prefixItems": [True], "items": False},
        {"maxItems": 1},
        [],
    ),
    "the end of a tuple": ({"type": "array"}, {"prefixItems": [True], "items": False}, ["json.item_refused"]),
    "tuples of draft-07": (
        {
            "$schema": DRAFT_07,
            "type": "array",
            "items": [{"type": "string"}],
            "additionalItems": {"type": "null"},
        },
        {"prefixItems": [{"type": "string"}], "items": {"type": "null"}},
        [],
    ),
    "fewer items": ({"type": "array", "minItems": 1}, {"minItems": 2}, ["json.min_items_raised"]),
    "more items": ({"type": "array", "maxItems": 3}, {"maxItems": 2}, ["json.max_items_lowered"]),
    "repeated items": (
        {"type": "array", "items": {"type": "string"}},
        {"uniqueItems": True},
        ["json.unique_items_added"],
    ),
    "one item never repeats": ({"type": "array", "maxItems": 1}, {"uniqueItems": True}, []),
    "contains added": (
        {"type": "array", "items": {"type": "integer"}},
        {"contains": {"type": "integer"}},
        ["json.contains_narrowed"],
    ),
    "all items are what is looked for": (
        {"type": "array", "items": {"type": "integer"}, "minItems": 1},
        {"contains": {"type": "number"}},
        [],
    ),
    "contains more": (
        {"type": "array", "contains": {"const": 1}},
        {"contains": {"const": 1}, "minContains": 2},
        ["json.contains_narrowed"],
    ),
    "contains fewer": (
        {"type": "array", "items": {"const": 1}},
        {"contains": {"const": 1}, "minContains": 0, "maxContains": 1},
        ["json.max_contains_lowered"],
    ),
    "minContains 0 asks nothing": ({"type": "array"}, {"contains": {"const": 1}, "minContains": 0}, []),
    "draft-07 knows no minContains": (
        {"type": "array"},
        {"$schema": DRAFT_07, "contains": {"const": 1}, "minContains": 0},
        ["json.contains_narrowed"],
    ),
    # Combinations.
    "alternative added": (
        {"anyOf": [{"type": "string"}]},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        [],
    ),
    "alternative dropped": (
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"anyOf": [{"type": "string"}]},
        ["json.no_alternative"],
    ),
    "two ranges cover one": ({"type": "number"}, {"anyOf": [{"maximum": 5}, {"minimum": 3}]}, []),
    "two ranges leave a gap": (
        {"type": "number"},
        {"anyOf": [{"maximum": 3}, {"minimum": 5}]},
        ["json.no_alternative"],
    ),
    "two ranges overlap in oneOf": (
        {"type": "number"},
        {"oneOf": [{"maximum": 5}, {"minimum": 3}]},
        ["json.one_of_overlap"],
    ),
    "integer and number overlap": (
        {"type": "integer"},
        {"oneOf": [{"type": "integer"}, {"type": "number"}]},
        ["json.one_of_overlap"],
    ),
    "told apart by a constant": ({"anyOf": [CAT, DOG]}, {"oneOf": [DOG, CAT]}, []),
    "an alternative of its own": (CAT, {"oneOf": [DOG, CAT]}, []),
    "inside the alternative that was meant": (
        {"oneOf": [CAT, DOG]},
        {"oneOf": [DOG | {"required": ["is", "barks"]}, CAT]},
        ["json.required_added"],
    ),
    "split by an enum": (
        {
            "type": "object",
            "properties": {"is": {"enum": ["cat", "dog"]}},
            "required": ["is"],
            "additionalProperties": False,
        },
        {"oneOf": [DOG, CAT]},
        [],
    ),
    "all of two": ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, {"minimum": 1, "maximum": 2}, []),
    "not": ({"type": "string"}, {"not": {"const": "a"}}, ["json.not_matched"]),
    "not of another type": ({"type": "string"}, {"not": {"type": "integer"}}, []),
    "not, said on both sides": ({"not": {"required": ["a"]}}, {"not": {"required": ["a", "b"]}}, []),
    "not not": ({"not": {"not": {"type": "string"}}}, {"type": "string"}, []),
    "if on the reader's side": (
        {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]},
        {"if": {"properties": {"a": {"const": 1}}}, "then": {"required": ["b"]}},
        ["json.required_added"],
    ),
    "if that never holds": (
        {"type": "object", "properties": {"a": {"const": 2}}, "required": ["a"]},
        {"if": {"properties": {"a": {"const": 1}}}, "then": {"required": ["b"]}},
        [],
    ),
    "if on both sides": (
        {"type": "integer", "if": {"minimum": 5}, "then": {"multipleOf": 10}, "else": {"multipleOf": 2}},
        {"multipleOf": 2},
        [],
    ),
    # References.
    "a reference inlined": (
        {"$defs": {"s": {"type": "string"}}, "$ref": "#/$defs/s"},
        {"type": "string"},
        [],
    ),
    "an anchor": ({"$defs": {"s": {"$anchor": "s", "type": "string"}}, "$ref": "#s"}, {"type": "string"}, []),
    "an embedded document": (
        {"$id": "https://a.example/x", "$defs": {"s": {"$id": "y", "type": "string"}}, "$ref": "y"},
        {"type": "string"},
        [],
    ),
    "beside a reference, 2020-12": (
        {"$defs": {"n": {"type": "integer"}}, "$ref": "#/$defs/n", "minimum": 1},
        {"minimum": 1},
        [],
    ),
    "beside a reference, draft-07": (
        {
            "$schema": DRAFT_07,
            "definitions": {"n": {"type": "integer"}},
            "$ref": "#/definitions/n",
            "minimum": 1,
        },
        {"minimum": 1},
        ["json.minimum_raised"],
    ),
    "recursive, widened": (
        A_NODE,
        A_NODE | {"properties": A_NODE["properties"] | {"value": {"type": "number"}}},
        [],
    ),
    "recursive, narrowed": (
        A_NODE,
        A_NODE | {"properties": A_NODE["properties"] | {"value": {"type": "integer", "minimum": 0}}},
        ["json.minimum_raised"],
    ),
    "recursive, unrolled once": (
        A_NODE,
        {
            "$defs": {
                "node": A_NODE
                | {"properties": {"next": {"$ref": "#/$defs/node"}, "value": {"type": "integer"}}}
            },
            "$ref": "#/$defs/node",
        },
        [],
    ),
    "the same text that refers to something else": (
        {"$defs": {"x": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/x"}}},
        {"$defs": {"x": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/x"}}},
        ["json.type_narrowed"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_keyword(judge: Any, name: str) -> None:
    writer, reader, rules = CASES[name]
    verdict = judge.compare(writer, reader)
    assert [problem.rule for problem in verdict.problems] == rules
    assert not any(problem.undecided for problem in verdict.problems)
    assert set(rules) <= RULES.keys()


def test_a_problem_names_the_place_the_rule_and_both_sides(judge: Any) -> None:
    writer = {"type": "object", "properties": {"price": {"type": "integer", "maximum": 11}}}
    reader = {"type": "object", "properties": {"price": {"type": "integer", "maximum": 10}}}
    (problem,) = judge.compare(writer, reader).problems
    assert problem.path == "/properties/price"
    assert problem.rule == "json.maximum_lowered"
    assert problem.writer == {"type": "integer", "maximum": 11}
    assert problem.reader == {"maximum": 10}
    assert problem.counterexample.value == {"price": 11}
    assert problem.message == (
        "at /properties/price the reader wants a number of at most 10; the writer may write 11"
    )
