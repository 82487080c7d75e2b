"""Our own annotation `x-unit`: the declared unit of a number. Another unit is another number."""

from __future__ import annotations

from qmtl.foundation.schema.compatibility.json_schema.node import SchemaNode, Terms
from qmtl.foundation.schema.compatibility.json_schema.proof.failure import Failure
from qmtl.foundation.schema.compatibility.json_schema.proof.prover import Prover
from qmtl.foundation.schema.compatibility.json_schema.proof.sentences import listed

_IN_PLACE = ("allOf", "anyOf", "oneOf")


def units(prover: Prover, terms: Terms, goal: SchemaNode) -> list[Failure]:
    """A failure where both sides declare units and not the same; a notice where one side alone does."""
    wanted = _units(goal)
    given = {unit: None for term in terms if term.holds for unit in _units(term.node)}
    if wanted == given.keys():
        return []
    if not wanted or not given:
        rule = "json.unit_added" if wanted else "json.unit_dropped"
        side, other = ("reader", "writer") if wanted else ("writer", "reader")
        sentence = (
            f"the {side} declares the unit {listed(sorted(wanted or given))}; the {other} declares none"
        )
        prover.notices.setdefault((prover.path, rule), sentence)
        return []
    return [
        Failure(
            "json.unit_changed",
            f"declares the unit {listed(sorted(wanted))}",
            {"x-unit": sorted(wanted)[0]},
            {"x-unit": sorted(given)[0]},
            lambda: (),
            may=f"declares {listed(sorted(given))}",
            by_rule=True,
        )
    ]


def _units(node: SchemaNode) -> frozenset[str]:
    if not node.document.has_units:
        return frozenset()
    found = set()
    waiting, met = [node], {node}
    while waiting:
        one = waiting.pop()
        unit = one.keywords.get("x-unit")
        if isinstance(unit, str):
            found.add(unit)
        inner = [other for keyword in _IN_PLACE for other in one.keywords.get(keyword, ())]
        inner += [one.target] if "$ref" in one.keywords else []
        waiting += [other for other in inner if other not in met]
        met.update(inner)
    return frozenset(found)
