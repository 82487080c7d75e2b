"""What one instance may be, case by case: terms split until each case has one type and plain constraints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.constraints.arrays import Arrays
from qmtl.foundation.schema.compatibility.json_schema.constraints.negation import is_elementary, negation
from qmtl.foundation.schema.compatibility.json_schema.constraints.numbers import Numbers
from qmtl.foundation.schema.compatibility.json_schema.constraints.objects import Objects
from qmtl.foundation.schema.compatibility.json_schema.constraints.strings import Strings
from qmtl.foundation.schema.compatibility.json_schema.constraints.values import Values
from qmtl.foundation.schema.compatibility.json_schema.equality import type_of
from qmtl.foundation.schema.compatibility.json_schema.node import SchemaNode, Term, Terms, same

AnyConstraints = Values | Numbers | Strings | Arrays | Objects

_LISTED: dict[str, list[Any]] = {"null": [None], "boolean": [True, False]}
_CONSTRAINTS: dict[str, type[Numbers | Strings | Arrays | Objects]] = {
    "number": Numbers,
    "string": Strings,
    "array": Arrays,
    "object": Objects,
}
_TYPES = (*_LISTED, *_CONSTRAINTS)
_MOST_CASES = 200


class Cases:
    """Takes terms apart, and remembers what came out."""

    def __init__(self) -> None:
        self._known: dict[frozenset[Term], tuple[AnyConstraints, ...]] = {}

    def of(self, terms: Terms) -> tuple[AnyConstraints, ...]:
        """All that an instance which fulfils `terms` may be; perhaps more, never less."""
        if len(terms) == 1 and terms[0].holds:
            # It follows from the node alone, which other comparisons ask about too.
            node = terms[0].node
            if node.cases is None:
                node.cases = self._taken_apart(terms)
            found: tuple[AnyConstraints, ...] = node.cases
            return found
        name = frozenset(terms)
        if name not in self._known:
            self._known[name] = self._taken_apart(terms)
        return self._known[name]

    def _taken_apart(self, terms: Terms) -> tuple[AnyConstraints, ...]:
        nodes = [term.node for term in terms if term.holds]
        types = [one for one in _TYPES if all(_can_be(node, one) for node in nodes)]
        return tuple(constraints for one in types for constraints in self._of_type(one, terms))

    def _of_type(self, type_name: str, terms: Terms) -> Iterator[AnyConstraints]:
        found: list[Terms] = []
        for flat in _taken_apart(type_name, list(terms), {}, [], []):
            found.append(flat)
            if len(found) > _MOST_CASES:
                # Fewer distinctions claim less, and so nothing wrong.
                found = list(_taken_apart(type_name, list(terms), {}, [], [], split=False))
                break
        for flat in found:
            constraints = _constraints(type_name, flat)
            if constraints is not None:
                yield constraints


def _taken_apart(
    type_name: str,
    waiting: list[Term],
    met: dict[Term, None],
    splits: list[list[Terms]],
    denied: list[SchemaNode],
    *,
    split: bool = True,
) -> Iterator[Terms]:
    """All ways to choose among alternatives, each as the terms that then hold together."""
    while waiting:
        term = waiting.pop(0)
        if term in met:
            continue
        if Term(term.node, not term.holds) in met:
            return
        met[term] = None
        if term.holds:
            if not _can_be(term.node, type_name):
                return
            _look_inside(term.node, waiting, splits)
            if type_name == "object":
                _apply_dependents(met, waiting)
        elif not is_elementary(term.node, type_name):
            alternatives = negation(term.node, type_name)
            if not alternatives:
                return
            if len(alternatives) == 1:
                waiting += alternatives[0]
            elif () not in alternatives:
                denied.append(term.node)
    if _is_contradiction(type_name, tuple(met)):
        return
    if split and splits:
        for alternative in splits[0]:
            yield from _taken_apart(type_name, list(alternative), dict(met), splits[1:], list(denied))
        return
    for index, node in enumerate(denied if split else ()):
        if _could_hold(type_name, node, met):
            for alternative in negation(node, type_name):
                yield from _taken_apart(type_name, list(alternative), dict(met), [], denied[index + 1 :])
            return
    yield tuple(met)


def _could_hold(type_name: str, node: SchemaNode, met: dict[Term, None]) -> bool:
    """Whether a denied schema is not excluded already by what else is met."""
    rest = {term: None for term in met if term != Term(node, False)}
    return next(_taken_apart(type_name, [Term(node)], rest, [], [], split=False), None) is not None


def _can_be(node: SchemaNode, type_name: str) -> bool:
    if node.value is False:
        return False
    types = node.keywords.get("type")
    if types is None:
        return True
    names = [types] if isinstance(types, str) else types
    return type_name in names or (type_name == "number" and "integer" in names)


def _look_inside(node: SchemaNode, waiting: list[Term], splits: list[list[Terms]]) -> None:
    keywords = node.keywords
    if "$ref" in keywords:
        waiting.append(Term(node.target))
    if "not" in keywords:
        waiting.append(Term(keywords["not"], False))
    waiting += [Term(inner) for inner in keywords.get("allOf", ())]
    if "anyOf" in keywords:
        splits.append([(Term(inner),) for inner in keywords["anyOf"]])
    if "oneOf" in keywords:
        nodes = keywords["oneOf"]
        splits.append(
            [(Term(inner), *(Term(other, False) for other in nodes if other is not inner)) for inner in nodes]
        )
    if "if" in keywords and ("then" in keywords or "else" in keywords):
        then = (Term(keywords["then"]),) if "then" in keywords else ()
        otherwise = (Term(keywords["else"]),) if "else" in keywords else ()
        splits.append([(Term(keywords["if"]), *then), (Term(keywords["if"], False), *otherwise)])


def _apply_dependents(met: dict[Term, None], waiting: list[Term]) -> None:
    if not any(term.holds and "dependentSchemas" in term.node.keywords for term in met):
        return
    constraints = Objects("object", tuple(met))
    waiting += [
        Term(inner)
        for named in constraints.stated("dependentSchemas")
        for name, inner in named.items()
        if name in constraints.required
    ]


def _is_contradiction(type_name: str, terms: Terms) -> bool:
    """A quick look; what it misses is found later, or only makes the constraints weaker."""
    if any(not term.holds for term in terms):
        positive = [term.node for term in terms if term.holds]
        for denied in (term.node for term in terms if not term.holds):
            if any(same(node, denied) for node in positive):
                return True
    if _listed(type_name, terms) == []:
        return True
    if type_name == "number":
        return Numbers(type_name, terms).is_empty()
    if type_name == "object":
        constraints = Objects(type_name, terms)
        return any(_cannot_be_there(constraints.of(name)) for name in constraints.required)
    return False


def _cannot_be_there(terms: Terms) -> bool:
    if any(term.holds and term.node.value is False for term in terms):
        return True
    if len(terms) < 2:
        return False
    flat = _unwrapped(terms)
    types = [name for name in _TYPES if all(_can_be(term.node, name) for term in flat if term.holds)]
    return all(_listed(name, flat) == [] for name in types)


def _unwrapped(terms: Terms) -> Terms:
    """`terms`, and what they lead to by references and allOf and not."""
    found: dict[Term, None] = {}
    waiting = list(terms)
    while waiting:
        term = waiting.pop(0)
        if term not in found:
            found[term] = None
            if term.holds:
                _look_inside(term.node, waiting, [])
    return tuple(found)


def _listed(type_name: str, terms: Terms) -> list[Any] | None:
    """The values that the terms list, of one type; None where they do not list any."""
    lists = [term.node.listed for term in terms if term.holds and term.node.listed is not None]
    if not lists:
        return _LISTED.get(type_name)
    return [
        value
        for name, value in lists[0].items()
        if type_of(value) == type_name
        and all(name in other for other in lists[1:])
        and not any(
            not term.holds and is_elementary(term.node, type_name) and term.node.accepts(value)
            for term in terms
        )
    ]


def _constraints(type_name: str, terms: Terms) -> AnyConstraints | None:
    listed = _listed(type_name, terms)
    if listed is None:
        return _CONSTRAINTS[type_name](type_name, terms)
    values = [
        value for value in listed if all(term.node.accepts(value) in (term.holds, None) for term in terms)
    ]
    return Values(type_name, terms, values) if values else None
