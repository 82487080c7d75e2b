"""An array with a length, what stands at each position, and what it contains."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

from qmtl.foundation.schema.compatibility.json_schema.constraints.base import Constraints
from qmtl.foundation.schema.compatibility.json_schema.constraints.evaluated import items_evaluated
from qmtl.foundation.schema.compatibility.json_schema.node import SchemaNode, Term, Terms


class Contained(NamedTuple):
    """At least `least` and at most `most` items are valid against `node`."""

    node: SchemaNode
    least: int
    most: int | None


class Arrays(Constraints):
    @cached_property
    def shortest(self) -> int:
        least = [int(value) for value in self.stated("minItems")]
        return max([*least, *(contained.least for contained in self.contains)], default=0)

    @cached_property
    def longest(self) -> int | None:
        given = self.smallest("maxItems")
        longest = None if given is None else int(given)
        for index in range(self.prefix + 1):
            # A position where nothing may stand ends the array.
            if any(term.holds and term.node.value is False for term in self.at(index)):
                return index if longest is None else min(index, longest)
        return longest

    @cached_property
    def unique(self) -> bool:
        return any(self.stated("uniqueItems"))

    @cached_property
    def contains(self) -> list[Contained]:
        return [contained(node) for node in self.positive if "contains" in node.keywords]

    @cached_property
    def prefix(self) -> int:
        """From this position on, all positions are alike."""
        lengths = [len(nodes) for nodes in self.stated("prefixItems")]
        return max([*lengths, *(after for after, _ in self._unevaluated)], default=0)

    def at(self, index: int) -> Terms:
        """What an item at `index` fulfils, if there is one."""
        found: dict[Term, None] = {}
        for node in self.positive:
            prefix = node.keywords.get("prefixItems", [])
            if index < len(prefix):
                found[Term(prefix[index])] = None
            elif "items" in node.keywords:
                found[Term(node.keywords["items"])] = None
        for after, node in self._unevaluated:
            if index >= after:
                found[Term(node)] = None
        return tuple(found)

    @cached_property
    def _unevaluated(self) -> list[tuple[int, SchemaNode]]:
        found = []
        for node in self.positive:
            if "unevaluatedItems" in node.keywords:
                after = items_evaluated(node, generously=True)
                if after is not None:
                    found.append((after, node.keywords["unevaluatedItems"]))
        return found


def contained(node: SchemaNode) -> Contained:
    """`contains` of a schema, with its limits."""
    least, most = node.keywords.get("minContains", 1), node.keywords.get("maxContains")
    return Contained(node.keywords["contains"], int(least), None if most is None else int(most))
