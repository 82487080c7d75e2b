"""What follows from a schema not being fulfilled: one of several other schemas is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.node import SchemaNode, Term, Terms

Alternatives = list[Terms]
Negate = Callable[[SchemaNode, Any], Alternatives]


def _plainly(keyword: str, change: Callable[[Any], Any] = lambda value: value) -> Negate:
    return lambda node, value: [(Term(node.derive({keyword: change(value)})),)]


def _nothing_known(node: SchemaNode, value: Any) -> Alternatives:
    return [()]


def _itself(keyword: str) -> Negate:
    # No simpler schema means the same; the constraints of each type know how to read this one.
    return lambda node, value: [(Term(node.derive({keyword: value}), False),)]


def _not_required(node: SchemaNode, names: list[str]) -> Alternatives:
    return [(Term(node.derive({"properties": {name: False}})),) for name in names]


def _bad_property(node: SchemaNode, named: dict[str, SchemaNode]) -> Alternatives:
    return [
        (Term(node.derive({"required": [name], "properties": {name: {"not": inner.value}}})),)
        for name, inner in named.items()
    ]


def _not_beside(node: SchemaNode, named: dict[str, list[str]]) -> Alternatives:
    return [
        (Term(node.derive({"required": [name], "properties": {missing: False}})),)
        for name, beside in named.items()
        for missing in beside
    ]


def _bad_beside(node: SchemaNode, named: dict[str, SchemaNode]) -> Alternatives:
    return [(Term(node.derive({"required": [name]})), Term(inner, False)) for name, inner in named.items()]


def _too_few(node: SchemaNode, contained: SchemaNode) -> Alternatives:
    keywords = node.keywords
    if keywords.get("minContains", 1) != 1 or "maxContains" in keywords:
        return [()]
    return [(Term(node.derive({"items": {"not": contained.value}})),)]


_NUMBERS: dict[str, Negate] = {
    "minimum": _plainly("exclusiveMaximum"),
    "exclusiveMinimum": _plainly("maximum"),
    "maximum": _plainly("exclusiveMinimum"),
    "exclusiveMaximum": _plainly("minimum"),
    "multipleOf": _itself("multipleOf"),
}
_STRINGS: dict[str, Negate] = {
    "minLength": _plainly("maxLength", lambda length: length - 1),
    "maxLength": _plainly("minLength", lambda length: length + 1),
    "pattern": _itself("pattern"),
}
_ARRAYS: dict[str, Negate] = {
    "minItems": _plainly("maxItems", lambda length: length - 1),
    "maxItems": _plainly("minItems", lambda length: length + 1),
    "uniqueItems": lambda node, wanted: [(Term(node.derive({"minItems": 2})),)] if wanted else [],
    "items": lambda node, inner: [(Term(node.derive({"contains": {"not": inner.value}})),)],
    "prefixItems": lambda node, inner: [(Term(node.derive({"minItems": 1})),)],
    "contains": _too_few,
    "unevaluatedItems": _nothing_known,
}
_OBJECTS: dict[str, Negate] = {
    "required": _not_required,
    "properties": _bad_property,
    "patternProperties": _plainly("minProperties", lambda _: 1),
    "additionalProperties": _plainly("minProperties", lambda _: 1),
    "propertyNames": _plainly("minProperties", lambda _: 1),
    "minProperties": _plainly("maxProperties", lambda count: count - 1),
    "maxProperties": _plainly("minProperties", lambda count: count + 1),
    "dependentRequired": _not_beside,
    "dependentSchemas": _bad_beside,
    "unevaluatedProperties": _nothing_known,
}
_OF_TYPE = {"number": _NUMBERS, "string": _STRINGS, "array": _ARRAYS, "object": _OBJECTS}
_OF_EVERY_TYPE: dict[str, Negate] = {
    "const": _itself("const"),
    "enum": _itself("enum"),
    "$ref": lambda node, _: [(Term(node.target, False),)],
    "$dynamicRef": _nothing_known,
    "allOf": lambda node, inner: [(Term(one, False),) for one in inner],
    "anyOf": lambda node, inner: [tuple(Term(one, False) for one in inner)],
    "oneOf": _nothing_known,
    "not": lambda node, inner: [(Term(inner),)],
}


_ONLY_OF = {"pattern": "string", "multipleOf": "number"}


def is_elementary(node: SchemaNode, type_name: str) -> bool:
    """Whether "`node` does not hold" is a constraint already, which no simpler schema expresses."""
    if len(node.keywords) != 1:
        return False
    keyword, argument = next(iter(node.keywords.items()))
    if keyword == "type":
        return type_name == "number" and argument == "integer"
    return keyword in ("const", "enum") or _ONLY_OF.get(keyword) == type_name


def negation(node: SchemaNode, type_name: str) -> Alternatives:
    """What an instance of a type fulfils, one of these at least, if `node` does not hold for it.

    No alternative: it always holds. An alternative without terms: nothing is known.
    """
    if isinstance(node.value, bool):
        return [] if node.value else [()]
    keywords = node.keywords
    found: Alternatives = []
    if "type" in keywords:
        names = [keywords["type"]] if isinstance(keywords["type"], str) else keywords["type"]
        if type_name not in names:
            if type_name != "number" or "integer" not in names:
                return [()]
            found.append((Term(node.derive({"type": "integer"}), False),))
    table = _OF_EVERY_TYPE | _OF_TYPE.get(type_name, {})
    for keyword, argument in keywords.items():
        if keyword in table:
            found += table[keyword](node, argument)
    if "if" in keywords:
        if "then" in keywords:
            found.append((Term(keywords["if"]), Term(keywords["then"], False)))
        if "else" in keywords:
            found.append((Term(keywords["if"], False), Term(keywords["else"], False)))
    return found
