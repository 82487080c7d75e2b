"""What a reader asks where the writer lists its values: each is simply tried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.equality import has_type, key
from qmtl.foundation.schema.compatibility.json_schema.facts.cases import Facts
from qmtl.foundation.schema.compatibility.json_schema.facts.values import Values
from qmtl.foundation.schema.compatibility.json_schema.place import Place
from qmtl.foundation.schema.compatibility.json_schema.proof.failure import Failure, plainly
from qmtl.foundation.schema.compatibility.json_schema.proof.prover import Prover
from qmtl.foundation.schema.compatibility.json_schema.proof.sentences import listed, said, shown

_RULES = {
    "type": "json.type_narrowed",
    "enum": "json.enum_narrowed",
    "const": "json.const_changed",
    "not": "json.not_matched",
    "anyOf": "json.no_alternative",
    "oneOf": "json.no_alternative",
}


def values(prover: Prover, facts: Values, goal: Place, _: Any) -> list[Failure]:
    refused: dict[str, list[Any]] = {}
    blamed: dict[str, tuple[Place, str]] = {}
    for value in facts.values:
        if goal.accepts(value) is True:
            continue
        place, keyword = _to_blame(goal, value)
        rule = "json.nothing_accepted" if goal.value is False else _RULES.get(keyword, "json.value_refused")
        refused.setdefault(rule, []).append(value)
        blamed.setdefault(rule, (place, keyword))
    return [
        Failure(
            rule,
            wants(*blamed[rule]),
            _piece(*blamed[rule]),
            said(facts, "const", "enum") or said(facts, "type"),
            plainly(list, found),
            unsure="jsonschema cannot tell",
        )
        for rule, found in refused.items()
    ]


def _to_blame(goal: Place, value: Any) -> tuple[Place, str]:
    """The keyword that refuses `value`, behind references and allOf."""
    for place in _applied(goal):
        for keyword, argument in place.keywords.items():
            if keyword in ("$ref", "allOf"):
                continue
            if keyword == "type":
                names = [argument] if isinstance(argument, str) else argument
                refuses = not any(has_type(value, name) for name in names)
            elif keyword in ("enum", "const"):
                refuses = key(value) not in place.keys_of[keyword]
            elif keyword in ("then", "else", "minContains", "maxContains"):
                continue
            else:
                alone = {keyword: place.value.get(keyword)} if keyword in place.value else place.value
                refuses = place.derive(alone).accepts(value) is False
            if refuses:
                return place, keyword
    return goal, ""


def _applied(goal: Place) -> Iterator[Place]:
    waiting, met = [goal], {goal}
    while waiting:
        place = waiting.pop(0)
        yield place
        inner = [*place.keywords.get("allOf", ()), *([place.target] if "$ref" in place.keywords else [])]
        waiting += [one for one in inner if one not in met]
        met.update(inner)


def _piece(place: Place, keyword: str) -> Any:
    return {keyword: place.value[keyword]} if keyword and keyword in place.value else place.value


def wants(place: Place, keyword: str) -> str:
    argument: Any = place.keywords.get(keyword)
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
    return "accepts nothing" if place.value is False else f"wants {shown(_piece(place, keyword))}"


def wants_type(types: str | list[str]) -> str:
    return f"wants the type {types if isinstance(types, str) else ' or '.join(types)}"


def wants_listed(prover: Prover, facts: Facts, goal: Place, _: Any) -> list[Failure]:
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
            said(facts, "type", "enum", "const"),
            plainly(lambda: (one for one in prover.examples.of_case(facts, 20) if not goal.accepts(one))),
        )
    ]
