"""Ways to cut one case of the writer in parts, where the reader's alternatives cut theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.facts.cases import Facts
from qmtl.foundation.schema.compatibility.json_schema.facts.numbers import Numbers
from qmtl.foundation.schema.compatibility.json_schema.facts.objects import Objects
from qmtl.foundation.schema.compatibility.json_schema.facts.values import Values
from qmtl.foundation.schema.compatibility.json_schema.place import Place, Term
from qmtl.foundation.schema.compatibility.json_schema.proof.prover import Prover

_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_MOST_PARTS = 40


def split(prover: Prover, facts: Facts, places: list[Place]) -> Iterator[Term]:
    """What each part fulfils in addition; the parts cover the case. Nothing where no cut helps."""
    if isinstance(facts, Numbers):
        yield from _at_bounds(facts, places)
    elif isinstance(facts, Objects):
        for name in _telling_properties(places):
            parts = _by_property(prover, facts, places, name)
            if 2 <= len(parts) <= _MOST_PARTS:
                yield from (Term(places[0].derive(part)) for part in parts)
                return


def _simple(place: Place) -> Iterator[Place]:
    """`place`, and what it leads to by references and combinations."""
    waiting, met = [place], {place}
    while waiting:
        one = waiting.pop(0)
        yield one
        inner = [*([one.target] if "$ref" in one.keywords else [])]
        for keyword in ("allOf", "anyOf", "oneOf"):
            inner += one.keywords.get(keyword, ())
        waiting += [other for other in inner if other not in met]
        met.update(inner)


def _at_bounds(facts: Numbers, places: list[Place]) -> Iterator[Term]:
    marks = {
        one.keywords[keyword]
        for place in places
        for one in _simple(place)
        for keyword in _BOUNDS
        if keyword in one.keywords
    }
    inside = sorted(mark for mark in marks if _cuts(facts, mark))
    if not inside:
        return
    derive = places[0].derive
    yield Term(derive({"exclusiveMaximum": inside[0]}))
    for mark, following in zip(inside, [*inside[1:], None], strict=True):
        yield Term(derive({"minimum": mark, "maximum": mark}))
        upper = {} if following is None else {"exclusiveMaximum": following}
        yield Term(derive({"exclusiveMinimum": mark, **upper}))


def _cuts(facts: Numbers, mark: Any) -> bool:
    below = facts.low is None or facts.low.limit < mark or (facts.low.limit == mark and not facts.low.is_open)
    above = (
        facts.high is None or facts.high.limit > mark or (facts.high.limit == mark and not facts.high.is_open)
    )
    is_point = facts.low is not None and facts.high is not None and facts.low.limit == facts.high.limit
    return below and above and not is_point


def _telling_properties(places: list[Place]) -> list[str]:
    """Properties of the alternatives, those first that take constants."""
    found: dict[str, int] = {}
    for place in places:
        for one in _simple(place):
            for name, inner in one.keywords.get("properties", {}).items():
                listed = any(other.listed is not None for other in _simple(inner))
                found[name] = found.get(name, 0) + (2 if listed else 1)
            for name in one.keywords.get("required", ()):
                found.setdefault(name, 1)
    return sorted(found, key=lambda name: -found[name])


def _by_property(prover: Prover, facts: Objects, places: list[Place], name: str) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [] if name in facts.required else [{"properties": {name: False}}]
    terms = facts.of(name)
    cases = prover.cases.of(terms) if terms else ()
    for case in cases:
        if isinstance(case, Values):
            parts += [{"required": [name], "properties": {name: {"const": value}}} for value in case.values]
    types = list(dict.fromkeys(case.type for case in cases if not isinstance(case, Values)))
    if not terms:
        parts.append({"required": [name]})
    parts += [{"required": [name], "properties": {name: {"type": one}}} for one in types]
    return parts
