"""Arrays as short as they may be, with what they must contain."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from qmtl.foundation.schema.compatibility.json_schema.equality import key
from qmtl.foundation.schema.compatibility.json_schema.facts.arrays import Arrays
from qmtl.foundation.schema.compatibility.json_schema.place import Term

if TYPE_CHECKING:
    from qmtl.foundation.schema.compatibility.json_schema.instances.examples import Examples

LONGEST_ARRAY = 2_000


def arrays(examples: Examples, facts: Arrays, fixed: dict[int, Any]) -> Iterator[list[Any]]:
    """Arrays of `facts` that hold `fixed` at its positions: the shortest, then longer ones."""
    shortest = max([facts.shortest, *(position + 1 for position in fixed)])
    if shortest > LONGEST_ARRAY:
        examples.is_cut = True
        return
    for length in (shortest, shortest + 1, shortest + 2, shortest + 5):
        if facts.longest is not None and length > facts.longest:
            return
        for variant in range(2):
            built = _built(examples, facts, fixed, length, variant)
            if built is not None:
                yield built
            if length == 0:
                break


def _built(
    examples: Examples, facts: Arrays, fixed: dict[int, Any], length: int, variant: int
) -> list[Any] | None:
    wishes: list[Term | None] = [
        Term(contained.place) for contained in facts.contains for _ in range(contained.least)
    ]
    # What must be contained goes to the end, where positions are most alike, and around what is fixed.
    free = [position for position in range(length) if position not in fixed]
    wish_at = dict(zip(reversed(free), reversed(wishes), strict=False))
    items: list[Any] = []
    # Only where items must differ: a key is as large as its value.
    met = {key(value) for value in fixed.values()} if facts.unique else set()
    pools: dict[Any, list[Any]] = {}
    for position in range(length):
        if position in fixed:
            items.append(fixed[position])
            continue
        wish = wish_at.get(position)
        terms = (*facts.at(position), wish) if wish is not None else facts.at(position)
        if terms not in pools:
            pools[terms] = list(islice(examples.of(terms, limit=length + 8 if facts.unique else 8), None))
        pool = pools[terms][variant:] + pools[terms][:variant]
        chosen = next((value for value in pool if not facts.unique or key(value) not in met), _MISSING)
        if chosen is _MISSING:
            return None
        if facts.unique:
            met.add(key(chosen))
        items.append(chosen)
    return items


_MISSING = object()
