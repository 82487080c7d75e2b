"""Arrays as short as they may be, with what they must contain."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.constraints.arrays import Arrays
from qmtl.foundation.schema.compatibility.json_schema.equality import key
from qmtl.foundation.schema.compatibility.json_schema.instances.inner_values import InnerValues
from qmtl.foundation.schema.compatibility.json_schema.node import Term

LONGEST_ARRAY = 2_000


def arrays(examples: InnerValues, constraints: Arrays, fixed: dict[int, Any]) -> Iterator[list[Any]]:
    """Arrays of `constraints` that hold `fixed` at its positions: the shortest, then longer ones."""
    shortest = max([constraints.shortest, *(position + 1 for position in fixed)])
    if shortest > LONGEST_ARRAY:
        examples.is_cut = True
        return
    for length in (shortest, shortest + 1, shortest + 2, shortest + 5):
        if constraints.longest is not None and length > constraints.longest:
            return
        for variant in range(2):
            built = _built(examples, constraints, fixed, length, variant)
            if built is not None:
                yield built
            if length == 0:
                break


def _built(
    examples: InnerValues, constraints: Arrays, fixed: dict[int, Any], length: int, variant: int
) -> list[Any] | None:
    wishes: list[Term | None] = [
        Term(contained.node) for contained in constraints.contains for _ in range(contained.least)
    ]
    # What must be contained goes to the end, where positions are most alike, and around what is fixed.
    free = [position for position in range(length) if position not in fixed]
    wish_at = dict(zip(reversed(free), reversed(wishes), strict=False))
    items: list[Any] = []
    # Only where items must differ: a key is as large as its value.
    met = {key(value) for value in fixed.values()} if constraints.unique else set()
    pools: dict[Any, list[Any]] = {}
    for position in range(length):
        if position in fixed:
            items.append(fixed[position])
            continue
        wish = wish_at.get(position)
        terms = (*constraints.at(position), wish) if wish is not None else constraints.at(position)
        if terms not in pools:
            pools[terms] = list(
                islice(examples.of(terms, limit=length + 8 if constraints.unique else 8), None)
            )
        pool = pools[terms][variant:] + pools[terms][:variant]
        chosen = next((value for value in pool if not constraints.unique or key(value) not in met), _MISSING)
        if chosen is _MISSING:
            return None
        if constraints.unique:
            met.add(key(chosen))
        items.append(chosen)
    return items


_MISSING = object()
