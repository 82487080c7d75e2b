"""An object: which properties it must have, may have, and what stands in each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any, NamedTuple

from qmtl.foundation.schema.compatibility.json_schema.facts.evaluated import properties_evaluated
from qmtl.foundation.schema.compatibility.json_schema.facts.known import Known
from qmtl.foundation.schema.compatibility.json_schema.place import Place, Term, Terms


class Others(NamedTuple):
    """Properties that have none of `names` and match none of `patterns` are valid against `place`."""

    names: frozenset[str]
    patterns: tuple[str, ...]
    place: Place

    def covers(self, name: str) -> bool:
        return name not in self.names and not any(matches(pattern, name) for pattern in self.patterns)


class Objects(Known):
    @cached_property
    def required(self) -> frozenset[str]:
        return close({name for names in self.said("required") for name in names}, self.dependents)

    @cached_property
    def dependents(self) -> list[tuple[str, list[str]]]:
        """A property, and those that stand beside it."""
        return [pair for named in self.said("dependentRequired") for pair in named.items()]

    @cached_property
    def fewest(self) -> int:
        return max(len(self.required), int(self.largest("minProperties") or 0))

    @cached_property
    def most(self) -> int | None:
        given = self.smallest("maxProperties")
        most = None if given is None else int(given)
        if self.patterns or not self.no_others:
            return most
        possible = sum(not self.is_refused(name) for name in self.names)
        return possible if most is None else min(possible, most)

    @cached_property
    def names(self) -> dict[str, None]:
        """All names that the schemas treat apart, and, where names are listed, those that are."""
        found = {name: None for named in self.said("properties") for name in named}
        found.update(dict.fromkeys(self.required))
        found.update({name: None for others in self.others for name in sorted(others.names)})
        for place in self.said("propertyNames"):
            if place.listed is not None:
                found.update({name: None for name in place.listed.values() if isinstance(name, str)})
        return found

    @cached_property
    def first(self) -> dict[str, tuple[Any, int]]:
        """Examples of properties as they are found, with the levels that they may nest."""
        return {}

    def in_order(self, names: Iterable[str]) -> list[str]:
        """`names` as the schemas name them, then those that they do not, by name."""
        return sorted(names, key=lambda name: (self._position.get(name, len(self._position)), name))

    @cached_property
    def _position(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}

    @cached_property
    def patterns(self) -> dict[str, list[Place]]:
        found: dict[str, list[Place]] = {}
        for named in self.said("patternProperties"):
            for pattern, place in named.items():
                found.setdefault(pattern, []).append(place)
        for others in self.others:
            for pattern in others.patterns:
                found.setdefault(pattern, [])
        return found

    @cached_property
    def others(self) -> list[Others]:
        found = []
        for place in self.positive:
            if "additionalProperties" in place.keywords:
                found.append(others_of(place))
            if "unevaluatedProperties" in place.keywords:
                seen = properties_evaluated(place, generously=True)
                if not seen.all:
                    rest = place.keywords["unevaluatedProperties"]
                    found.append(Others(frozenset(seen.names), tuple(seen.patterns), rest))
        return found

    @cached_property
    def _named(self) -> list[dict[str, Place]]:
        return list(self.said("properties"))

    @cached_property
    def no_others(self) -> bool:
        """Whether there is certainly no property beyond `names` and `patterns`."""
        if any(others.place.value is False for others in self.others):
            return True
        if any(place.listed is not None for place in self.said("propertyNames")):
            return True
        most = self.smallest("maxProperties")
        return most is not None and len(self.required) >= most

    def of(self, name: str) -> Terms:
        """What the property `name` fulfils, if it is there."""
        found: dict[Term, None] = {}
        for named in self._named:
            if name in named:
                found[Term(named[name])] = None
        for pattern, places in self.patterns.items():
            if matches(pattern, name):
                found.update({Term(place): None for place in places})
        for others in self.others:
            if others.covers(name):
                found[Term(others.place)] = None
        for place, _ in self.of_names:
            if place.accepts(name) is False:
                found[Term(place.derive(False))] = None
        return tuple(found)

    def is_refused(self, name: str) -> bool:
        return any(term.holds and term.place.value is False for term in self.of(name))

    @cached_property
    def of_others(self) -> Terms:
        """What each property beyond `names` and `patterns` fulfils."""
        return tuple(dict.fromkeys(Term(others.place) for others in self.others))

    @cached_property
    def of_names(self) -> Terms:
        """What the name of each property fulfils."""
        return tuple(dict.fromkeys(Term(place) for place in self.said("propertyNames")))


def others_of(place: Place) -> Others:
    """`additionalProperties` of a schema, with what it is additional to."""
    return Others(
        frozenset(place.keywords.get("properties", ())),
        tuple(place.keywords.get("patternProperties", ())),
        place.keywords["additionalProperties"],
    )


def close(names: set[str], dependents: Iterable[tuple[str, list[str]]]) -> frozenset[str]:
    """`names`, and all that stand beside them."""
    rules = list(dependents)
    while True:
        more = {name for trigger, beside in rules if trigger in names for name in beside} - names
        if not more:
            return frozenset(names)
        names = names | more


def matches(pattern: str, name: str) -> bool:
    """Whether jsonschema would say that the name matches. Raises `re.error`."""
    return re.search(pattern, name) is not None
