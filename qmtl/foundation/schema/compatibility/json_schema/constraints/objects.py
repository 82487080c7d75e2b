"""An object: which properties it must have, may have, and what stands in each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any, NamedTuple

from qmtl.foundation.schema.compatibility.json_schema.constraints.base import Constraints
from qmtl.foundation.schema.compatibility.json_schema.constraints.evaluated import properties_evaluated
from qmtl.foundation.schema.compatibility.json_schema.node import SchemaNode, Term, Terms


class Others(NamedTuple):
    """Properties that have none of `names` and match none of `patterns` are valid against `node`."""

    names: frozenset[str]
    patterns: tuple[str, ...]
    node: SchemaNode

    def covers(self, name: str) -> bool:
        return name not in self.names and not any(matches(pattern, name) for pattern in self.patterns)


class Objects(Constraints):
    @cached_property
    def required(self) -> frozenset[str]:
        return close({name for names in self.stated("required") for name in names}, self.dependents)

    @cached_property
    def dependents(self) -> list[tuple[str, list[str]]]:
        """A property, and those that stand beside it."""
        return [pair for named in self.stated("dependentRequired") for pair in named.items()]

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
        found = {name: None for named in self.stated("properties") for name in named}
        found.update(dict.fromkeys(self.required))
        found.update({name: None for others in self.others for name in sorted(others.names)})
        for node in self.stated("propertyNames"):
            if node.listed is not None:
                found.update({name: None for name in node.listed.values() if isinstance(name, str)})
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
    def patterns(self) -> dict[str, list[SchemaNode]]:
        found: dict[str, list[SchemaNode]] = {}
        for named in self.stated("patternProperties"):
            for pattern, node in named.items():
                found.setdefault(pattern, []).append(node)
        for others in self.others:
            for pattern in others.patterns:
                found.setdefault(pattern, [])
        return found

    @cached_property
    def others(self) -> list[Others]:
        found = []
        for node in self.positive:
            if "additionalProperties" in node.keywords:
                found.append(others_of(node))
            if "unevaluatedProperties" in node.keywords:
                seen = properties_evaluated(node, generously=True)
                if not seen.all:
                    rest = node.keywords["unevaluatedProperties"]
                    found.append(Others(frozenset(seen.names), tuple(seen.patterns), rest))
        return found

    @cached_property
    def _named(self) -> list[dict[str, SchemaNode]]:
        return list(self.stated("properties"))

    @cached_property
    def no_others(self) -> bool:
        """Whether there is certainly no property beyond `names` and `patterns`."""
        if any(others.node.value is False for others in self.others):
            return True
        if any(node.listed is not None for node in self.stated("propertyNames")):
            return True
        most = self.smallest("maxProperties")
        return most is not None and len(self.required) >= most

    def of(self, name: str) -> Terms:
        """What the property `name` fulfils, if it is there."""
        found: dict[Term, None] = {}
        for named in self._named:
            if name in named:
                found[Term(named[name])] = None
        for pattern, nodes in self.patterns.items():
            if matches(pattern, name):
                found.update({Term(node): None for node in nodes})
        for others in self.others:
            if others.covers(name):
                found[Term(others.node)] = None
        for node, _ in self.of_names:
            if node.accepts(name) is False:
                found[Term(node.derive(False))] = None
        return tuple(found)

    def is_refused(self, name: str) -> bool:
        return any(term.holds and term.node.value is False for term in self.of(name))

    @cached_property
    def of_others(self) -> Terms:
        """What each property beyond `names` and `patterns` fulfils."""
        return tuple(dict.fromkeys(Term(others.node) for others in self.others))

    @cached_property
    def of_names(self) -> Terms:
        """What the name of each property fulfils."""
        return tuple(dict.fromkeys(Term(node) for node in self.stated("propertyNames")))


def others_of(node: SchemaNode) -> Others:
    """`additionalProperties` of a schema, with what it is additional to."""
    return Others(
        frozenset(node.keywords.get("properties", ())),
        tuple(node.keywords.get("patternProperties", ())),
        node.keywords["additionalProperties"],
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
