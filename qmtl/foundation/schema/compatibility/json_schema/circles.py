"""Schemas that apply themselves to the same instance again: nothing can be validated against them."""

from __future__ import annotations

from collections.abc import Iterator

from qmtl.foundation.schema.compatibility.json_schema.place import Place

# jsonschema follows each step by several nested calls.
LONGEST_CHAIN = 30

_SAME_INSTANCE = frozenset(
    ["$ref", "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"]
)


class CircleError(Exception):
    """A schema applies itself to the same instance again."""


class LongChainError(Exception):
    """A schema leads on to others, of the same instance, in more than `LONGEST_CHAIN` steps."""


def check_circles(root: Place) -> None:
    """Raises `CircleError`, `LongChainError`, `UnresolvedReferenceError` of anything `root` leads to."""
    steps: dict[Place, int] = {}
    for start in _reached(root):
        path = [(start, iter(tuple(_next(start, same_instance=True))))]
        on_path = {start}
        while path:
            place, following = path[-1]
            inner = next((one for one in following if one not in steps), None)
            if inner is None:
                after = (steps.get(one, 0) + 1 for one in _next(place, same_instance=True))
                steps[place] = max(after, default=0)
                path.pop()
                on_path.discard(place)
            elif inner in on_path:
                raise CircleError
            else:
                path.append((inner, iter(tuple(_next(inner, same_instance=True)))))
                on_path.add(inner)
    if max(steps.values(), default=0) > LONGEST_CHAIN:
        raise LongChainError


def _reached(root: Place) -> list[Place]:
    waiting, met = [root], {root: None}
    while waiting:
        place = waiting.pop()
        for one in (*_next(place, same_instance=True), *_next(place, same_instance=False)):
            if one not in met:
                met[one] = None
                waiting.append(one)
    return list(met)


def _next(place: Place, *, same_instance: bool) -> Iterator[Place]:
    for keyword, argument in place.keywords.items():
        if (keyword in _SAME_INSTANCE) is not same_instance:
            continue
        if keyword == "$ref":
            yield place.target
        elif isinstance(argument, Place):
            yield argument
        elif isinstance(argument, dict):
            yield from (one for one in argument.values() if isinstance(one, Place))
        elif isinstance(argument, list):
            yield from (one for one in argument if isinstance(one, Place))
