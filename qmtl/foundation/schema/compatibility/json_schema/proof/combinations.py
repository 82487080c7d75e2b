"""What a reader asks in combination: types, references, all, any or one of several schemas, not, if."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.constraints.cases import AnyConstraints
from qmtl.foundation.schema.compatibility.json_schema.constraints.numbers import Numbers
from qmtl.foundation.schema.compatibility.json_schema.constraints.values import Values
from qmtl.foundation.schema.compatibility.json_schema.instances.numbers import numbers
from qmtl.foundation.schema.compatibility.json_schema.node import SchemaNode, Term, same
from qmtl.foundation.schema.compatibility.json_schema.proof.failure import Candidate, Failure, plainly
from qmtl.foundation.schema.compatibility.json_schema.proof.prover import Answer, Prover
from qmtl.foundation.schema.compatibility.json_schema.proof.sentences import excerpt
from qmtl.foundation.schema.compatibility.json_schema.proof.splits import split
from qmtl.foundation.schema.compatibility.json_schema.proof.values import wants_listed, wants_type

_MOST_SPLITS = 4
_COMBINED = ("type", "anyOf", "oneOf")


def _type(
    prover: Prover, constraints: AnyConstraints, goal: SchemaNode, types: str | list[str]
) -> list[Failure]:
    names = [types] if isinstance(types, str) else types
    if constraints.type in names or (
        constraints.type == "number" and "integer" in names and _whole(constraints)
    ):
        return []

    def candidates() -> Iterator[Any]:
        if isinstance(constraints, Numbers):
            yield from (
                number for number in numbers(constraints, (0.5,)) if "integer" not in names or number % 1
            )
        else:
            yield from prover.examples.of_case(constraints)

    return [
        Failure(
            "json.type_narrowed",
            wants_type(types),
            {"type": types},
            excerpt(constraints, "type"),
            plainly(candidates),
        )
    ]


def _whole(constraints: AnyConstraints) -> bool:
    return isinstance(constraints, Numbers) and constraints.integer


def _nothing(prover: Prover, constraints: AnyConstraints, goal: SchemaNode, _: Any) -> list[Failure]:
    return [
        Failure(
            "json.nothing_accepted",
            "accepts nothing",
            False,
            excerpt(constraints, "type"),
            plainly(lambda: prover.examples.of_case(constraints)),
        )
    ]


def _reference(prover: Prover, constraints: AnyConstraints, goal: SchemaNode, _: str) -> list[Failure]:
    return prover.ask(constraints, goal.target)


def _dynamic_reference(
    prover: Prover, constraints: AnyConstraints, goal: SchemaNode, reference: str
) -> list[Failure]:
    return [
        Failure(
            "json.dynamic_reference",
            "uses $dynamicRef",
            {"$dynamicRef": reference},
            excerpt(constraints, "type"),
            plainly(lambda: prover.examples.of_case(constraints)),
            unsure="what it leads to depends on the way by which it was reached",
        )
    ]


def _all_of(
    prover: Prover, constraints: AnyConstraints, goal: SchemaNode, nodes: list[SchemaNode]
) -> list[Failure]:
    return [failure for node in nodes for failure in prover.ask(constraints, node)]


def _any_of(
    prover: Prover, constraints: AnyConstraints, goal: SchemaNode, nodes: list[SchemaNode]
) -> list[Failure]:
    return _some(prover, constraints, goal, nodes, _MOST_SPLITS)


def _some(
    prover: Prover, constraints: AnyConstraints, goal: SchemaNode, nodes: list[SchemaNode], splits: int
) -> list[Failure]:
    """Failures to show that one of `nodes` accepts the whole case, or one each of its parts."""
    attempts = []
    live = []
    for node in nodes:
        failures = prover.ask(constraints, node)
        if not failures:
            return []
        if not prover.are_none((*constraints.terms, Term(node))):
            live.append(node)
            attempts.append(failures)
    if len(live) == 1:
        return attempts[0]
    parts = list(split(prover, constraints, live)) if splits and live else []
    if parts:
        found = []
        for part in parts:
            for case in prover.cases.of((*constraints.terms, part)):
                found += (
                    _some(prover, case, goal, live, splits - 1)
                    if case.type == constraints.type and not isinstance(case, Values)
                    else prover.ask(case, goal)
                )
        return found
    return _best(prover, constraints, goal, attempts, len(nodes))


def _best(
    prover: Prover, constraints: AnyConstraints, goal: SchemaNode, attempts: list[list[Failure]], count: int
) -> list[Failure]:
    """The failures of the intended alternative, if it can be seen which that is; else one for all of them."""
    # Where no alternative is left, none was intended.
    meant = [failures for failures in attempts if not any(map(_shows_other_alternative, failures))]
    if len(meant) == 1:
        return meant[0]
    keyword = "anyOf" if "anyOf" in goal.keywords else "oneOf"

    def candidates() -> Iterator[Candidate]:
        tries = [failure.candidates() for failures in meant or attempts for failure in failures]
        return chain((one._replace(local=one.whole) for one in chain(*tries)), _examples(prover, constraints))

    return [
        Failure(
            "json.no_alternative",
            f"wants one of {count} alternatives",
            {keyword: goal.value.get(keyword)},
            excerpt(constraints, *_COMBINED, "properties", "required", "items"),
            candidates,
            unsure="the alternatives may accept it together",
        )
    ]


def _examples(prover: Prover, constraints: AnyConstraints) -> Iterator[Candidate]:
    return (Candidate(value, value) for value in prover.examples.of_case(constraints, 30))


def _shows_other_alternative(failure: Failure) -> bool:
    """Whether a failure looks as if this alternative was not the intended one: another type or constant."""
    if failure.rule in ("json.type_narrowed", "json.nothing_accepted") and not failure.path:
        return True
    return failure.rule in ("json.const_changed", "json.enum_narrowed") and len(failure.path) <= 2


def _one_of(
    prover: Prover, constraints: AnyConstraints, goal: SchemaNode, nodes: list[SchemaNode]
) -> list[Failure]:
    failures = _some(prover, constraints, goal, nodes, _MOST_SPLITS)
    live = [node for node in nodes if not prover.are_none((*constraints.terms, Term(node)))]
    for index, one in enumerate(live):
        for other in live[index + 1 :]:
            both = (*constraints.terms, Term(one), Term(other))
            if not prover.are_none(both):
                failures.append(_overlap(prover, constraints, goal, both, (one, other)))
    return failures


def _overlap(
    prover: Prover,
    constraints: AnyConstraints,
    goal: SchemaNode,
    both: tuple[Term, ...],
    pair: tuple[SchemaNode, SchemaNode],
) -> Failure:
    return Failure(
        "json.one_of_overlap",
        "wants exactly one of its alternatives, and two accept the same",
        {"oneOf": [node.value for node in pair]},
        excerpt(constraints, *_COMBINED),
        plainly(lambda: prover.examples.of(both)),
        unsure="whether the alternatives overlap",
    )


def _not(prover: Prover, constraints: AnyConstraints, goal: SchemaNode, node: SchemaNode) -> list[Failure]:
    if any(same(denied, node) for denied in constraints.negative):
        return []
    both = (*constraints.terms, Term(node))
    if prover.are_none(both):
        return []
    return [
        Failure(
            "json.not_matched",
            "excludes some values with not",
            {"not": node.value},
            excerpt(constraints, *_COMBINED, "not"),
            plainly(lambda: prover.examples.of(both)),
            unsure="whether the writer can write what is excluded",
        )
    ]


def _if(
    prover: Prover, constraints: AnyConstraints, goal: SchemaNode, condition: SchemaNode
) -> list[Failure]:
    failures = []
    for holds, keyword in ((True, "then"), (False, "else")):
        if keyword in goal.keywords:
            for case in prover.cases.of((*constraints.terms, Term(condition, holds))):
                found = prover.ask(case, goal.keywords[keyword])
                failures += [replace(one, unsure=one.unsure or "which branch applies") for one in found]
    return failures


ANSWERS: dict[str, Answer] = {
    "false": _nothing,
    "type": _type,
    "enum": wants_listed,
    "const": wants_listed,
    "$ref": _reference,
    "$dynamicRef": _dynamic_reference,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
}
