"""An array with a length, what stands at each position, and what it contains."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

from qmtl.foundation.schema.compatibility.json_schema.facts.evaluated import items_evaluated
from qmtl.foundation.schema.compatibility.json_schema.facts.known import Known
from qmtl.foundation.schema.compatibility.json_schema.place import Place, Term, Terms


class Contained(NamedTuple):
    """At least `least` and at most `most` items are valid against `place`."""

    place: Place
    least: int
    most: int | None


class Arrays(Known):
    @cached_property
    def shortest(self) -> int:
        least = [int(value) for value in self.said("minItems")]
        return max([*least, *(contained.least for contained in self.contains)], default=0)

    @cached_property
    def longest(self) -> int | None:
        given = self.smallest("maxItems")
        longest = None if given is None else int(given)
        for index in range(self.prefix + 1):
            # A position where nothing may stand ends the array.
            if any(term.holds and term.place.value is False for term in self.at(index)):
                return index if longest is None else min(index, longest)
        return longest

    @cached_property
    def unique(self) -> bool:
        return any(self.said("uniqueItems"))

    @cached_property
    def contains(self) -> list[Contained]:
        return [contained(place) for place in self.positive if "contains" in place.keywords]

    @cached_property
    def prefix(self) -> int:
        """From this position on, all positions are alike."""
        lengths = [len(places) for places in self.said("prefixItems")]
        return max([*lengths, *(after for after, _ in self._unevaluated)], default=0)

    def at(self, index: int) -> Terms:
        """What an item at `index` fulfils, if there is one."""
        found: dict[Term, None] = {}
        for place in self.positive:
            prefix = place.keywords.get("prefixItems", [])
            if index < len(prefix):
                found[Term(prefix[index])] = None
            elif "items" in place.keywords:
                found[Term(place.keywords["items"])] = None
        for after, place in self._unevaluated:
            if index >= after:
                found[Term(place)] = None
        return tuple(found)

    @cached_property
    def _unevaluated(self) -> list[tuple[int, Place]]:
        found = []
        for place in self.positive:
            if "unevaluatedItems" in place.keywords:
                after = items_evaluated(place, generously=True)
                if after is not None:
                    found.append((after, place.keywords["unevaluatedItems"]))
        return found


def contained(place: Place) -> Contained:
    """`contains` of a schema, with its limits."""
    least, most = place.keywords.get("minContains", 1), place.keywords.get("maxContains")
    return Contained(place.keywords["contains"], int(least), None if most is None else int(most))
