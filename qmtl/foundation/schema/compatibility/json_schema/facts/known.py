"""The common part of all facts: the terms they were read from."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import cached_property
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.equality import key
from qmtl.foundation.schema.compatibility.json_schema.place import Place, Terms


class Known:
    """Facts of an instance of type `type` that fulfils `terms`; each kind of value adds its own.

    The facts never claim more than the terms say: what they cannot express they leave out.
    """

    def __init__(self, type_name: str, terms: Terms) -> None:
        self.type = type_name
        self.terms = terms

    @cached_property
    def positive(self) -> list[Place]:
        return [term.place for term in self.terms if term.holds]

    @cached_property
    def negative(self) -> list[Place]:
        return [term.place for term in self.terms if not term.holds]

    @cached_property
    def excluded(self) -> dict[Hashable, Any]:
        """Single values that the instance is not."""
        return {
            key(value): value
            for place in self.negative
            if len(place.keywords) == 1
            for keyword, argument in place.keywords.items()
            if keyword in ("const", "enum")
            for value in (argument if keyword == "enum" else [argument])
        }

    def said(self, keyword: str) -> Iterator[Any]:
        """What the schemas say under `keyword`."""
        return (place.keywords[keyword] for place in self.positive if keyword in place.keywords)

    def denied(self, keyword: str) -> Iterator[Any]:
        """What the instance does not fulfil under `keyword` alone."""
        return (
            place.keywords[keyword]
            for place in self.negative
            if keyword in place.keywords and len(place.keywords) == 1
        )

    def largest(self, keyword: str) -> Any:
        return max(self.said(keyword), default=None)

    def smallest(self, keyword: str) -> Any:
        return min(self.said(keyword), default=None)
