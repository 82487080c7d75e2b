"""What a reader asks of an array."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.facts.arrays import Arrays, contained
from qmtl.foundation.schema.compatibility.json_schema.facts.evaluated import items_evaluated
from qmtl.foundation.schema.compatibility.json_schema.instances.arrays import LONGEST_ARRAY
from qmtl.foundation.schema.compatibility.json_schema.place import Place, Term
from qmtl.foundation.schema.compatibility.json_schema.proof.failure import Failure, plainly
from qmtl.foundation.schema.compatibility.json_schema.proof.prover import Answer, Prover
from qmtl.foundation.schema.compatibility.json_schema.proof.sentences import said, shown

_LENGTHS = ("minItems", "maxItems")
_MOST_POSITIONS = 64


def _put(prover: Prover, facts: Arrays, position: int) -> Callable[[Any], Iterator[Any]]:
    return lambda value: prover.examples.around(facts, {position: value})


def _item(prover: Prover, facts: Arrays, goal: Place, position: int, path: tuple[str, ...]) -> list[Failure]:
    if facts.longest is not None and position >= facts.longest:
        return []
    failures = prover.prove(facts.at(position), goal, path, _put(prover, facts, position))
    return [
        replace(failure, rule="json.item_refused", wants="reads no item")
        if failure.rule == "json.nothing_accepted" and failure.path == path
        else failure
        for failure in failures
    ]


def _prefix_items(prover: Prover, facts: Arrays, goal: Place, places: list[Place]) -> list[Failure]:
    return [
        failure
        for position, place in enumerate(places)
        for failure in _item(prover, facts, place, position, ("prefixItems", str(position)))
    ]


def _items(prover: Prover, facts: Arrays, goal: Place, rest: Place) -> list[Failure]:
    return _from(prover, facts, rest, len(goal.keywords.get("prefixItems", ())))


def _from(prover: Prover, facts: Arrays, rest: Place, start: int) -> list[Failure]:
    """Items from `start` on. All positions from the writer's prefix on are alike, so one stands for them."""
    last = max(start, facts.prefix)
    return [
        failure
        for position in range(start, last + 1)
        for failure in _item(
            prover,
            facts,
            rest,
            position,
            ("prefixItems", str(position)) if position < facts.prefix else ("items",),
        )
    ]


def _unevaluated_items(prover: Prover, facts: Arrays, goal: Place, rest: Place) -> list[Failure]:
    start = items_evaluated(goal, generously=False)
    if start is None:
        return []
    return [
        replace(failure, unsure="which items count as evaluated depends on the instance")
        for failure in _from(prover, facts, rest, start)
    ]


def _min_items(prover: Prover, facts: Arrays, goal: Place, count: int) -> list[Failure]:
    if facts.shortest >= count:
        return []
    return [
        Failure(
            "json.min_items_raised",
            f"wants at least {shown(count)} items",
            {"minItems": count},
            said(facts, "type", *_LENGTHS),
            plainly(lambda: (array for array in prover.examples.around(facts) if len(array) < count)),
        )
    ]


def _max_items(prover: Prover, facts: Arrays, goal: Place, count: int) -> list[Failure]:
    if facts.longest is not None and facts.longest <= count:
        return []

    def candidates() -> Iterator[Any]:
        for value in prover.examples.of(facts.at(int(count)), 4):
            yield from prover.examples.around(facts, {int(count): value})

    return [
        Failure(
            "json.max_items_lowered",
            f"wants at most {shown(count)} items",
            {"maxItems": count},
            said(facts, "type", *_LENGTHS),
            plainly(candidates),
        )
    ]


def _unique_items(prover: Prover, facts: Arrays, goal: Place, wanted: bool) -> list[Failure]:
    if not wanted or facts.unique or (facts.longest is not None and facts.longest <= 1):
        return []

    def candidates() -> Iterator[Any]:
        position = facts.prefix
        pairs = [(position, position + 1), *((0, other) for other in range(1, position + 1))]
        for one, other in pairs:
            for value in prover.examples.of((*facts.at(one), *facts.at(other)), 4):
                yield from prover.examples.around(facts, {one: value, other: value})

    return [
        Failure(
            "json.unique_items_added",
            "wants items that all differ",
            {"uniqueItems": True},
            said(facts, "type", "uniqueItems", "maxItems"),
            plainly(candidates),
        )
    ]


def _contains(prover: Prover, facts: Arrays, goal: Place, place: Place) -> list[Failure]:
    asked = contained(goal)
    return [*_enough(prover, facts, asked), *_not_too_many(prover, facts, asked)]


def _enough(prover: Prover, facts: Arrays, asked: Any) -> list[Failure]:
    if asked.least == 0:
        return []
    if any(
        known.least >= asked.least and prover.is_proved((Term(known.place),), asked.place)
        for known in facts.contains
    ):
        return []
    certain = 0
    for position in range(min(facts.shortest, _MOST_POSITIONS)):
        certain += prover.is_proved(facts.at(position), asked.place)
        if certain >= asked.least:
            return []
    return [
        Failure(
            "json.contains_narrowed",
            f"wants at least {asked.least} of the items that its contains describes",
            {"contains": asked.place.value, "minContains": asked.least},
            said(facts, "type", "contains", "minContains", "items", "minItems"),
            plainly(lambda: _without(prover, facts, asked.place)),
        )
    ]


def _without(prover: Prover, facts: Arrays, place: Place) -> Iterator[Any]:
    """Arrays with as few items of `place` as can be."""
    yield from prover.examples.around(facts)
    least = facts.shortest
    length = max(1, least) if facts.longest is None else min(max(1, least), facts.longest)
    if length > LONGEST_ARRAY:
        prover.examples.is_cut = True
        return
    wished = [known.place for known in facts.contains for _ in range(known.least)]
    fixed = {}
    for position in range(length):
        # What the writer must contain, and the reader does not look for, is best.
        wish = (Term(wished[position]),) if position < len(wished) else ()
        value = next(prover.examples.of((*facts.at(position), *wish, Term(place, False))), None)
        if value is not None:
            fixed[position] = value
    yield from prover.examples.around(facts, fixed)


def _not_too_many(prover: Prover, facts: Arrays, asked: Any) -> list[Failure]:
    if asked.most is None or (facts.longest is not None and facts.longest <= asked.most):
        return []
    if any(
        known.most is not None
        and known.most <= asked.most
        and prover.is_proved((Term(asked.place),), known.place)
        for known in facts.contains
    ):
        return []
    positions = facts.prefix if facts.longest is None else min(facts.longest, _MOST_POSITIONS)
    rest_is_free = facts.longest is not None and facts.longest <= positions
    possible = sum(not prover.is_none((*facts.at(index), Term(asked.place))) for index in range(positions))
    if possible <= asked.most and (
        rest_is_free or prover.is_none((*facts.at(facts.prefix), Term(asked.place)))
    ):
        return []

    def candidates() -> Iterator[Any]:
        if asked.most >= LONGEST_ARRAY:
            prover.examples.is_cut = True
            return
        for start in (0, facts.prefix):
            fixed = {}
            for position in range(start, start + asked.most + 1):
                values = list(prover.examples.of((*facts.at(position), Term(asked.place)), 3 + asked.most))
                if values:
                    fixed[position] = values[(position - start) % len(values) if facts.unique else 0]
            yield from prover.examples.around(facts, fixed)

    return [
        Failure(
            "json.max_contains_lowered",
            f"wants at most {asked.most} of the items that its contains describes",
            {"contains": asked.place.value, "maxContains": asked.most},
            said(facts, "type", "contains", "maxContains", "items", "maxItems"),
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


def is_empty(prover: Prover, facts: Arrays) -> bool:
    """Whether such an array certainly does not exist."""
    if facts.longest is not None and facts.longest < facts.shortest:
        return True
    if any(known.most is not None and known.most < known.least for known in facts.contains):
        return True
    positions = min(facts.shortest, facts.prefix + 1)
    if any(prover.is_none(facts.at(position)) for position in range(positions)):
        return True
    return any(
        known.least > 0
        and all(prover.is_none((*facts.at(index), Term(known.place))) for index in range(facts.prefix + 1))
        for known in facts.contains
    )
