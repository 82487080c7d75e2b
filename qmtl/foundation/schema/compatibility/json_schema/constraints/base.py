"""What all constraints have in common: the terms they were read from."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import cached_property
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.equality import key
from qmtl.foundation.schema.compatibility.json_schema.node import SchemaNode, Terms


class Constraints:
    """What is known of an instance of type `type` that fulfils `terms`; each kind of value adds its own.

    They never claim more than the terms do: what they cannot express they leave out.
    """

    def __init__(self, type_name: str, terms: Terms) -> None:
        self.type = type_name
        self.terms = terms

    @cached_property
    def positive(self) -> list[SchemaNode]:
        return [term.node for term in self.terms if term.holds]

    @cached_property
    def negative(self) -> list[SchemaNode]:
        return [term.node for term in self.terms if not term.holds]

    @cached_property
    def excluded(self) -> dict[Hashable, Any]:
        """Single values that the instance is not."""
        return {
            key(value): value
            for node in self.negative
            if len(node.keywords) == 1
            for keyword, argument in node.keywords.items()
            if keyword in ("const", "enum")
            for value in (argument if keyword == "enum" else [argument])
        }

    def stated(self, keyword: str) -> Iterator[Any]:
        """The values of `keyword` in the schemas that hold."""
        return (node.keywords[keyword] for node in self.positive if keyword in node.keywords)

    def denied(self, keyword: str) -> Iterator[Any]:
        """The values of `keyword` in the schemas that do not hold and have no other keyword."""
        return (
            node.keywords[keyword]
            for node in self.negative
            if keyword in node.keywords and len(node.keywords) == 1
        )

    def largest(self, keyword: str) -> Any:
        return max(self.stated(keyword), default=None)

    def smallest(self, keyword: str) -> Any:
        return min(self.stated(keyword), default=None)
