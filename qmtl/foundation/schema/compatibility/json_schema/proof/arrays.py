"""What a reader asks of an array."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.constraints.arrays import Arrays, contained
from qmtl.foundation.schema.compatibility.json_schema.constraints.evaluated import items_evaluated
from qmtl.foundation.schema.compatibility.json_schema.instances.arrays import LONGEST_ARRAY
from qmtl.foundation.schema.compatibility.json_schema.node import SchemaNode, Term
from qmtl.foundation.schema.compatibility.json_schema.proof.failure import Failure, plainly
from qmtl.foundation.schema.compatibility.json_schema.proof.prover import Answer, Prover
from qmtl.foundation.schema.compatibility.json_schema.proof.sentences import amount, excerpt

_LENGTHS = ("minItems", "maxItems")
_MOST_POSITIONS = 64


def _put(prover: Prover, constraints: Arrays, position: int) -> Callable[[Any], Iterator[Any]]:
    return lambda value: prover.examples.around(constraints, {position: value})


def _item(
    prover: Prover, constraints: Arrays, goal: SchemaNode, position: int, path: tuple[str, ...]
) -> list[Failure]:
    if constraints.longest is not None and position >= constraints.longest:
        return []
    failures = prover.prove(constraints.at(position), goal, path, _put(prover, constraints, position))
    return [
        replace(failure, rule="json.item_refused", wants="reads no item")
        if failure.rule == "json.nothing_accepted" and failure.path == path
        else failure
        for failure in failures
    ]


def _prefix_items(
    prover: Prover, constraints: Arrays, goal: SchemaNode, nodes: list[SchemaNode]
) -> list[Failure]:
    return [
        failure
        for position, node in enumerate(nodes)
        for failure in _item(prover, constraints, node, position, ("prefixItems", str(position)))
    ]


def _items(prover: Prover, constraints: Arrays, goal: SchemaNode, rest: SchemaNode) -> list[Failure]:
    return _from(prover, constraints, rest, len(goal.keywords.get("prefixItems", ())))


def _from(prover: Prover, constraints: Arrays, rest: SchemaNode, start: int) -> list[Failure]:
    """Items from `start` on. All positions from the writer's prefix on are alike, so one stands for them."""
    last = max(start, constraints.prefix)
    return [
        failure
        for position in range(start, last + 1)
        for failure in _item(
            prover,
            constraints,
            rest,
            position,
            ("prefixItems", str(position)) if position < constraints.prefix else ("items",),
        )
    ]


def _unevaluated_items(
    prover: Prover, constraints: Arrays, goal: SchemaNode, rest: SchemaNode
) -> list[Failure]:
    start = items_evaluated(goal, generously=False)
    if start is None:
        return []
    return [
        replace(failure, unsure="which items count as evaluated depends on the instance")
        for failure in _from(prover, constraints, rest, start)
    ]


def _min_items(prover: Prover, constraints: Arrays, goal: SchemaNode, count: int) -> list[Failure]:
    if constraints.shortest >= count:
        return []
    return [
        Failure(
            "json.min_items_raised",
            f"wants at least {amount(count, 'item')}",
            {"minItems": count},
            excerpt(constraints, "type", *_LENGTHS),
            plainly(lambda: (array for array in prover.examples.around(constraints) if len(array) < count)),
        )
    ]


def _max_items(prover: Prover, constraints: Arrays, goal: SchemaNode, count: int) -> list[Failure]:
    if constraints.longest is not None and constraints.longest <= count:
        return []

    def candidates() -> Iterator[Any]:
        for value in prover.examples.of(constraints.at(int(count)), 4):
            yield from prover.examples.around(constraints, {int(count): value})

    return [
        Failure(
            "json.max_items_lowered",
            f"wants at most {amount(count, 'item')}",
            {"maxItems": count},
            excerpt(constraints, "type", *_LENGTHS),
            plainly(candidates),
        )
    ]


def _unique_items(prover: Prover, constraints: Arrays, goal: SchemaNode, wanted: bool) -> list[Failure]:
    if not wanted or constraints.unique or (constraints.longest is not None and constraints.longest <= 1):
        return []

    def candidates() -> Iterator[Any]:
        position = constraints.prefix
        pairs = [(position, position + 1), *((0, other) for other in range(1, position + 1))]
        for one, other in pairs:
            for value in prover.examples.of((*constraints.at(one), *constraints.at(other)), 4):
                yield from prover.examples.around(constraints, {one: value, other: value})

    return [
        Failure(
            "json.unique_items_added",
            "wants items that all differ",
            {"uniqueItems": True},
            excerpt(constraints, "type", "uniqueItems", "maxItems"),
            plainly(candidates),
        )
    ]


def _contains(prover: Prover, constraints: Arrays, goal: SchemaNode, node: SchemaNode) -> list[Failure]:
    asked = contained(goal)
    return [*_enough(prover, constraints, asked), *_not_too_many(prover, constraints, asked)]


def _enough(prover: Prover, constraints: Arrays, asked: Any) -> list[Failure]:
    if asked.least == 0:
        return []
    if any(
        known.least >= asked.least and prover.is_proved((Term(known.node),), asked.node)
        for known in constraints.contains
    ):
        return []
    certain = 0
    for position in range(min(constraints.shortest, _MOST_POSITIONS)):
        certain += prover.is_proved(constraints.at(position), asked.node)
        if certain >= asked.least:
            return []
    return [
        Failure(
            "json.contains_narrowed",
            f"wants at least {asked.least} of the items that its contains describes",
            {"contains": asked.node.value, "minContains": asked.least},
            excerpt(constraints, "type", "contains", "minContains", "items", "minItems"),
            plainly(lambda: _without(prover, constraints, asked.node)),
        )
    ]


def _without(prover: Prover, constraints: Arrays, node: SchemaNode) -> Iterator[Any]:
    """Arrays with as few items of `node` as can be."""
    yield from prover.examples.around(constraints)
    least = constraints.shortest
    length = max(1, least) if constraints.longest is None else min(max(1, least), constraints.longest)
    if length > LONGEST_ARRAY:
        prover.examples.is_cut = True
        return
    wished = [known.node for known in constraints.contains for _ in range(known.least)]
    fixed = {}
    for position in range(length):
        # What the writer must contain, and the reader does not look for, is best.
        wish = (Term(wished[position]),) if position < len(wished) else ()
        value = next(prover.examples.of((*constraints.at(position), *wish, Term(node, False))), None)
        if value is not None:
            fixed[position] = value
    yield from prover.examples.around(constraints, fixed)


def _not_too_many(prover: Prover, constraints: Arrays, asked: Any) -> list[Failure]:
    if asked.most is None or (constraints.longest is not None and constraints.longest <= asked.most):
        return []
    if any(
        known.most is not None
        and known.most <= asked.most
        and prover.is_proved((Term(asked.node),), known.node)
        for known in constraints.contains
    ):
        return []
    positions = (
        constraints.prefix if constraints.longest is None else min(constraints.longest, _MOST_POSITIONS)
    )
    rest_is_free = constraints.longest is not None and constraints.longest <= positions
    possible = sum(
        not prover.is_none((*constraints.at(index), Term(asked.node))) for index in range(positions)
    )
    if possible <= asked.most and (
        rest_is_free or prover.is_none((*constraints.at(constraints.prefix), Term(asked.node)))
    ):
        return []

    def candidates() -> Iterator[Any]:
        if asked.most >= LONGEST_ARRAY:
            prover.examples.is_cut = True
            return
        for start in (0, constraints.prefix):
            fixed = {}
            for position in range(start, start + asked.most + 1):
                values = list(
                    prover.examples.of((*constraints.at(position), Term(asked.node)), 3 + asked.most)
                )
                if values:
                    fixed[position] = values[(position - start) % len(values) if constraints.unique else 0]
            yield from prover.examples.around(constraints, fixed)

    return [
        Failure(
            "json.max_contains_lowered",
            f"wants at most {asked.most} of the items that its contains describes",
            {"contains": asked.node.value, "maxContains": asked.most},
            excerpt(constraints, "type", "contains", "maxContains", "items", "maxItems"),
            plainly(candidates),
        )
    ]


ANSWERS: dict[str, Answer] = {
    "prefixItems": _prefix_items,
    "items": _items,
    "unevaluatedItems": _unevaluated_items,
    "minItems": _min_items,
    "maxItems": _max_items,
    "uniqueItems": _unique_items,
    "contains": _contains,
}


def is_empty(prover: Prover, constraints: Arrays) -> bool:
    """Whether such an array certainly does not exist."""
    if constraints.longest is not None and constraints.longest < constraints.shortest:
        return True
    if any(known.most is not None and known.most < known.least for known in constraints.contains):
        return True
    positions = min(constraints.shortest, constraints.prefix + 1)
    if any(prover.is_none(constraints.at(position)) for position in range(positions)):
        return True
    return any(
        known.least > 0
        and all(
            prover.is_none((*constraints.at(index), Term(known.node)))
            for index in range(constraints.prefix + 1)
        )
        for known in constraints.contains
    )
