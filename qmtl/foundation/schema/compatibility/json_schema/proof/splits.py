"""Ways to cut one case of the writer in parts, where the reader's alternatives cut theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.constraints.cases import AnyConstraints
from qmtl.foundation.schema.compatibility.json_schema.constraints.numbers import Numbers
from qmtl.foundation.schema.compatibility.json_schema.constraints.objects import Objects
from qmtl.foundation.schema.compatibility.json_schema.constraints.values import Values
from qmtl.foundation.schema.compatibility.json_schema.node import SchemaNode, Term
from qmtl.foundation.schema.compatibility.json_schema.proof.prover import Prover

_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_MOST_PARTS = 40


def split(prover: Prover, constraints: AnyConstraints, nodes: list[SchemaNode]) -> Iterator[Term]:
    """What each part fulfils in addition; the parts cover the case. Nothing where no cut helps."""
    if isinstance(constraints, Numbers):
        yield from _at_bounds(constraints, nodes)
    elif isinstance(constraints, Objects):
        for name in _distinguishing_properties(nodes):
            parts = _by_property(prover, constraints, nodes, name)
            if 2 <= len(parts) <= _MOST_PARTS:
                yield from (Term(nodes[0].derive(part)) for part in parts)
                return


def _simple(node: SchemaNode) -> Iterator[SchemaNode]:
    """`node`, and what it leads to by references and combinations."""
    waiting, met = [node], {node}
    while waiting:
        one = waiting.pop(0)
        yield one
        inner = [*([one.target] if "$ref" in one.keywords else [])]
        for keyword in ("allOf", "anyOf", "oneOf"):
            inner += one.keywords.get(keyword, ())
        waiting += [other for other in inner if other not in met]
        met.update(inner)


def _at_bounds(constraints: Numbers, nodes: list[SchemaNode]) -> Iterator[Term]:
    marks = {
        one.keywords[keyword]
        for node in nodes
        for one in _simple(node)
        for keyword in _BOUNDS
        if keyword in one.keywords
    }
    inside = sorted(mark for mark in marks if _cuts(constraints, mark))
    if not inside:
        return
    derive = nodes[0].derive
    yield Term(derive({"exclusiveMaximum": inside[0]}))
    for mark, following in zip(inside, [*inside[1:], None], strict=True):
        yield Term(derive({"minimum": mark, "maximum": mark}))
        upper = {} if following is None else {"exclusiveMaximum": following}
        yield Term(derive({"exclusiveMinimum": mark, **upper}))


def _cuts(constraints: Numbers, mark: Any) -> bool:
    below = (
        constraints.low is None
        or constraints.low.limit < mark
        or (constraints.low.limit == mark and not constraints.low.is_open)
    )
    above = (
        constraints.high is None
        or constraints.high.limit > mark
        or (constraints.high.limit == mark and not constraints.high.is_open)
    )
    is_point = (
        constraints.low is not None
        and constraints.high is not None
        and constraints.low.limit == constraints.high.limit
    )
    return below and above and not is_point


def _distinguishing_properties(nodes: list[SchemaNode]) -> list[str]:
    """Properties of the alternatives, those first that take constants."""
    found: dict[str, int] = {}
    for node in nodes:
        for one in _simple(node):
            for name, inner in one.keywords.get("properties", {}).items():
                listed = any(other.listed is not None for other in _simple(inner))
                found[name] = found.get(name, 0) + (2 if listed else 1)
            for name in one.keywords.get("required", ()):
                found.setdefault(name, 1)
    return sorted(found, key=lambda name: -found[name])


def _by_property(
    prover: Prover, constraints: Objects, nodes: list[SchemaNode], name: str
) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [] if name in constraints.required else [{"properties": {name: False}}]
    terms = constraints.of(name)
    cases = prover.cases.of(terms) if terms else ()
    for case in cases:
        if isinstance(case, Values):
            parts += [{"required": [name], "properties": {name: {"const": value}}} for value in case.values]
    types = list(dict.fromkeys(case.type for case in cases if not isinstance(case, Values)))
    if not terms:
        parts.append({"required": [name]})
    parts += [{"required": [name], "properties": {name: {"type": one}}} for one in types]
    return parts
