"""Schemas that apply themselves to the same instance again: no validation against them would end."""

from __future__ import annotations

from collections.abc import Iterator

from qmtl.foundation.schema.compatibility.json_schema.node import SchemaNode

# jsonschema follows each step by several nested calls.
LONGEST_CHAIN = 30

_SAME_INSTANCE = frozenset(
    ["$ref", "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"]
)


class CycleError(Exception):
    """A schema applies itself to the same instance again."""


class LongChainError(Exception):
    """A schema applies others to the same instance in more than `LONGEST_CHAIN` steps."""


def check_cycles(root: SchemaNode) -> None:
    """Raises `CircleError`, `LongChainError`, `UnresolvedReferenceError` of anything `root` leads to."""
    steps: dict[SchemaNode, int] = {}
    for start in _reached(root):
        path = [(start, iter(tuple(_next(start, same_instance=True))))]
        on_path = {start}
        while path:
            node, following = path[-1]
            inner = next((one for one in following if one not in steps), None)
            if inner is None:
                after = (steps.get(one, 0) + 1 for one in _next(node, same_instance=True))
                steps[node] = max(after, default=0)
                path.pop()
                on_path.discard(node)
            elif inner in on_path:
                raise CycleError
            else:
                path.append((inner, iter(tuple(_next(inner, same_instance=True)))))
                on_path.add(inner)
    if max(steps.values(), default=0) > LONGEST_CHAIN:
        raise LongChainError


def _reached(root: SchemaNode) -> list[SchemaNode]:
    waiting, met = [root], {root: None}
    while waiting:
        node = waiting.pop()
        for one in (*_next(node, same_instance=True), *_next(node, same_instance=False)):
            if one not in met:
                met[one] = None
                waiting.append(one)
    return list(met)


def _next(node: SchemaNode, *, same_instance: bool) -> Iterator[SchemaNode]:
    for keyword, argument in node.keywords.items():
        if (keyword in _SAME_INSTANCE) is not same_instance:
            continue
        if keyword == "$ref":
            yield node.target
        elif isinstance(argument, SchemaNode):
            yield argument
        elif isinstance(argument, dict):
            yield from (one for one in argument.values() if isinstance(one, SchemaNode))
        elif isinstance(argument, list):
            yield from (one for one in argument if isinstance(one, SchemaNode))
