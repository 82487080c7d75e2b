"""Which properties and items count as evaluated, as far as that can be decided without an instance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from qmtl.foundation.schema.compatibility.json_schema.node import SchemaNode

_ALWAYS = ("allOf",)
_SOMETIMES = ("anyOf", "oneOf", "if", "then", "else", "dependentSchemas")


@dataclass(slots=True)
class Evaluated:
    """Names and patterns of evaluated properties, or all of them."""

    names: set[str] = field(default_factory=set)
    patterns: set[str] = field(default_factory=set)
    all: bool = False


def properties_evaluated(node: SchemaNode, *, generously: bool) -> Evaluated:
    """What `unevaluatedProperties` of `node` does not apply to.

    generously: also what only some instances evaluate. The writer's side is read so, and the reader's is
    not: each errs to where nothing wrong is proved.
    """
    seen = Evaluated()
    for one in _in_place(node, generously):
        seen.names.update(one.keywords.get("properties", ()))
        seen.patterns.update(one.keywords.get("patternProperties", ()))
        seen.all |= "additionalProperties" in one.keywords
        seen.all |= one is not node and "unevaluatedProperties" in one.keywords
        seen.all |= generously and "$dynamicRef" in one.keywords
    return seen


def items_evaluated(node: SchemaNode, *, generously: bool) -> int | None:
    """From which position on `unevaluatedItems` of `node` applies; None where it never does."""
    after = 0
    for one in _in_place(node, generously):
        if "items" in one.keywords or (one is not node and "unevaluatedItems" in one.keywords):
            return None
        if generously and ("contains" in one.keywords or "$dynamicRef" in one.keywords):
            return None
        after = max(after, len(one.keywords.get("prefixItems", ())))
    return after


def _in_place(node: SchemaNode, generously: bool) -> Iterator[SchemaNode]:
    """`node`, and the schemas that apply to the same instance: always, or sometimes."""
    waiting, met = [node], {node}
    while waiting:
        one = waiting.pop()
        yield one
        for keyword in _ALWAYS + (_SOMETIMES if generously else ()):
            argument = one.keywords.get(keyword, ())
            if isinstance(argument, SchemaNode):
                argument = [argument]
            inner = list(argument.values()) if isinstance(argument, dict) else list(argument)
            waiting += [other for other in inner if other not in met]
            met.update(inner)
        if "$ref" in one.keywords and one.target not in met:
            waiting.append(one.target)
            met.add(one.target)
