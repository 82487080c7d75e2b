"""What a reader asks where the writer lists its values: each is simply tried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.constraints.cases import AnyConstraints
from qmtl.foundation.schema.compatibility.json_schema.constraints.values import Values
from qmtl.foundation.schema.compatibility.json_schema.equality import has_type, key
from qmtl.foundation.schema.compatibility.json_schema.node import SchemaNode
from qmtl.foundation.schema.compatibility.json_schema.proof.failure import Failure, plainly
from qmtl.foundation.schema.compatibility.json_schema.proof.prover import Prover
from qmtl.foundation.schema.compatibility.json_schema.proof.sentences import excerpt, listed, shown

_RULES = {
    "type": "json.type_narrowed",
    "enum": "json.enum_narrowed",
    "const": "json.const_changed",
    "not": "json.not_matched",
    "anyOf": "json.no_alternative",
    "oneOf": "json.no_alternative",
}


def values(prover: Prover, constraints: Values, goal: SchemaNode, _: Any) -> list[Failure]:
    refused: dict[str, list[Any]] = {}
    blamed: dict[str, tuple[SchemaNode, str]] = {}
    for value in constraints.values:
        if goal.accepts(value) is True:
            continue
        node, keyword = _to_blame(goal, value)
        rule = "json.nothing_accepted" if goal.value is False else _RULES.get(keyword, "json.value_refused")
        refused.setdefault(rule, []).append(value)
        blamed.setdefault(rule, (node, keyword))
    return [
        Failure(
            rule,
            wants(*blamed[rule]),
            _piece(*blamed[rule]),
            excerpt(constraints, "const", "enum") or excerpt(constraints, "type"),
            plainly(list, found),
            unsure="jsonschema cannot tell",
        )
        for rule, found in refused.items()
    ]


def _to_blame(goal: SchemaNode, value: Any) -> tuple[SchemaNode, str]:
    """The keyword that refuses `value`, behind references and allOf."""
    for node in _applied(goal):
        for keyword, argument in node.keywords.items():
            if keyword in ("$ref", "allOf"):
                continue
            if keyword == "type":
                names = [argument] if isinstance(argument, str) else argument
                refuses = not any(has_type(value, name) for name in names)
            elif keyword in ("enum", "const"):
                refuses = key(value) not in node.keys_of[keyword]
            elif keyword in ("then", "else", "minContains", "maxContains"):
                continue
            else:
                alone = {keyword: node.value.get(keyword)} if keyword in node.value else node.value
                refuses = node.derive(alone).accepts(value) is False
            if refuses:
                return node, keyword
    return goal, ""


def _applied(goal: SchemaNode) -> Iterator[SchemaNode]:
    waiting, met = [goal], {goal}
    while waiting:
        node = waiting.pop(0)
        yield node
        inner = [*node.keywords.get("allOf", ()), *([node.target] if "$ref" in node.keywords else [])]
        waiting += [one for one in inner if one not in met]
        met.update(inner)


def _piece(node: SchemaNode, keyword: str) -> Any:
    return {keyword: node.value[keyword]} if keyword and keyword in node.value else node.value


def wants(node: SchemaNode, keyword: str) -> str:
    argument: Any = node.keywords.get(keyword)
    match keyword:
        case "type":
            return wants_type(argument)
        case "enum":
            return f"wants one of {listed(argument)}"
        case "const":
            return f"wants {shown(argument)}"
        case "not":
            return "excludes it with not"
        case "anyOf" | "oneOf":
            return f"wants one of {len(argument)} alternatives"
    return "accepts nothing" if node.value is False else f"wants {shown(_piece(node, keyword))}"


def wants_type(types: str | list[str]) -> str:
    return f"wants the type {types if isinstance(types, str) else ' or '.join(types)}"


def wants_listed(prover: Prover, constraints: AnyConstraints, goal: SchemaNode, _: Any) -> list[Failure]:
    """`enum` or `const`, where the writer does not list its values."""
    if "enum" in goal.keywords:
        rule, keyword = "json.enum_narrowed", "enum"
    else:
        rule, keyword = "json.const_changed", "const"
    return [
        Failure(
            rule,
            wants(goal, keyword),
            {keyword: goal.keywords[keyword]},
            excerpt(constraints, "type", "enum", "const"),
            plainly(
                lambda: (one for one in prover.examples.of_case(constraints, 20) if not goal.accepts(one))
            ),
        )
    ]
