"""What a reader asks of an object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.constraints.evaluated import properties_evaluated
from qmtl.foundation.schema.compatibility.json_schema.constraints.objects import (
    Objects,
    Others,
    matches,
    others_of,
)
from qmtl.foundation.schema.compatibility.json_schema.instances.objects import other_names
from qmtl.foundation.schema.compatibility.json_schema.node import SchemaNode, Term, Terms
from qmtl.foundation.schema.compatibility.json_schema.proof.failure import Failure, plainly
from qmtl.foundation.schema.compatibility.json_schema.proof.prover import Answer, Prover
from qmtl.foundation.schema.compatibility.json_schema.proof.sentences import amount, excerpt, listed, shown
from qmtl.foundation.schema.compatibility.json_schema.regex_language.search import Wanted, find_words

Build = Callable[[Any], Iterator[Any]]


def _as_refused(failures: list[Failure], path: tuple[str, ...]) -> list[Failure]:
    return [
        replace(failure, rule="json.property_refused", wants="reads no such property")
        if failure.rule == "json.nothing_accepted" and failure.path == path
        else failure
        for failure in failures
    ]


def _ask(
    prover: Prover, terms: Terms, goal: SchemaNode, path: tuple[str, ...], build: Build
) -> list[Failure]:
    return _as_refused(prover.prove(terms, goal, path, build), path)


def _at(prover: Prover, constraints: Objects, name: str) -> Build:
    return lambda value: prover.examples.around(constraints, {name: value})


def _without(prover: Prover, constraints: Objects, names: list[str]) -> Iterator[Any]:
    """Objects that lack one of `names`."""
    return (one for name in names for one in prover.examples.around(constraints, absent=frozenset((name,))))


def _at_some(
    prover: Prover, constraints: Objects, *, accept: tuple[str, ...] = (), refuse: tuple[str, ...] = ()
) -> Build:
    """Puts a value under some name that is not known, but matches expressions or does not."""

    def build(value: Any) -> Iterator[Any]:
        for name in other_names(constraints, set(constraints.names), accept=accept, refuse=refuse):
            yield from islice(prover.examples.around(constraints, {name: value}), 1)

    return build


def _properties(
    prover: Prover, constraints: Objects, goal: SchemaNode, named: dict[str, SchemaNode]
) -> list[Failure]:
    alike = _alike(constraints, goal)
    return [
        failure
        for name, node in named.items()
        if name not in alike
        for failure in _ask(
            prover, constraints.of(name), node, ("properties", name), _at(prover, constraints, name)
        )
    ]


def _alike(constraints: Objects, goal: SchemaNode) -> set[str]:
    """Properties of which both sides say the same: a look at all of them at once."""
    return {
        name
        for node in constraints.positive
        if node.dialect is goal.dialect
        for name, _ in goal.settled & node.settled
    }


def _pattern_properties(
    prover: Prover, constraints: Objects, goal: SchemaNode, named: dict[str, SchemaNode]
) -> list[Failure]:
    return [
        failure
        for pattern, node in named.items()
        for failure in _all_that_match(prover, constraints, pattern, node)
    ]


def _all_that_match(prover: Prover, constraints: Objects, pattern: str, node: SchemaNode) -> list[Failure]:
    failures = []
    for name in constraints.names:
        if matches(pattern, name):
            path = ("properties", name)
            failures += _ask(prover, constraints.of(name), node, path, _at(prover, constraints, name))
    for known, nodes in constraints.patterns.items():
        if known != pattern and find_words(Wanted((known, pattern))).none_exists:
            continue
        terms = tuple(Term(one) for one in nodes)
        build = _at_some(prover, constraints, accept=(known, pattern))
        failures += _ask(prover, terms, node, ("patternProperties", known), build)
    if (
        not constraints.no_others
        and not find_words(Wanted((pattern,), tuple(constraints.patterns))).none_exists
    ):
        build = _at_some(prover, constraints, accept=(pattern,), refuse=tuple(constraints.patterns))
        failures += _ask(prover, constraints.of_others, node, ("patternProperties", pattern), build)
    return failures


def _additional(prover: Prover, constraints: Objects, goal: SchemaNode, _: SchemaNode) -> list[Failure]:
    return _rest(prover, constraints, others_of(goal))


def _unevaluated(prover: Prover, constraints: Objects, goal: SchemaNode, node: SchemaNode) -> list[Failure]:
    seen = properties_evaluated(goal, generously=False)
    if seen.all:
        return []
    failures = _rest(prover, constraints, Others(frozenset(seen.names), tuple(seen.patterns), node))
    return [
        replace(failure, unsure="which properties count as evaluated depends on the instance")
        for failure in failures
    ]


def _rest(prover: Prover, constraints: Objects, asked: Others) -> list[Failure]:
    """Properties that are additional to what the reader names."""
    failures = []
    for name in constraints.names:
        if name not in asked.names and asked.covers(name):
            path = ("properties", name)
            failures += _ask(prover, constraints.of(name), asked.node, path, _at(prover, constraints, name))
    for known, nodes in constraints.patterns.items():
        if known in asked.patterns or _all_match(constraints, known, asked.patterns):
            continue
        terms = tuple(Term(one) for one in nodes)
        build = _at_some(prover, constraints, accept=(known,), refuse=asked.patterns)
        failures += _ask(prover, terms, asked.node, ("patternProperties", known), build)
    if not constraints.no_others and not _all_match(constraints, None, asked.patterns):
        build = _at_some(prover, constraints, refuse=(*constraints.patterns, *asked.patterns))
        failures += _ask(prover, constraints.of_others, asked.node, ("additionalProperties",), build)
    return failures


def _all_match(constraints: Objects, known: str | None, patterns: tuple[str, ...]) -> bool:
    """Whether each name (that matches `known`) matches one of `patterns`."""
    if not patterns:
        return False
    accept = tuple(
        node.keywords["pattern"] for node in constraints.stated("propertyNames") if "pattern" in node.keywords
    )
    accept += () if known is None else (known,)
    return find_words(Wanted(accept, patterns)).none_exists


def _property_names(
    prover: Prover, constraints: Objects, goal: SchemaNode, node: SchemaNode
) -> list[Failure]:
    def build(name: Any) -> Iterator[Any]:
        for value in prover.examples.of(constraints.of(name), 3):
            yield from islice(prover.examples.around(constraints, {name: value}), 1)

    failures: list[Failure] = []
    refused = [name for name in constraints.names if node.accepts(name) is not True]
    refused = [name for name in refused if not prover.is_none(constraints.of(name))]
    if refused:
        failures.append(
            Failure(
                "json.property_names_narrowed",
                "does not read that name",
                {"propertyNames": node.value},
                excerpt(constraints, "propertyNames"),
                plainly(lambda: (value for name in refused for value in build(name))),
                may=f"may write the property {shown(refused[0])}",
                path=("propertyNames",),
            )
        )
    kinds: list[Terms] = [
        (Term(goal.derive({"type": "string", "pattern": one})),) for one in constraints.patterns
    ]
    if not constraints.no_others and not prover.is_none(constraints.of_others):
        kinds.append((Term(goal.derive({"type": "string"})),))
    for terms in kinds:
        found = prover.prove((*terms, *constraints.of_names), node, ("propertyNames",), build)
        failures += [replace(one, rule="json.property_names_narrowed") for one in found]
    return failures


def _required(prover: Prover, constraints: Objects, goal: SchemaNode, names: list[str]) -> list[Failure]:
    return [
        Failure(
            "json.required_added",
            f"requires {shown(name)}",
            {"required": names},
            {"required": sorted(constraints.required)},
            plainly(_without, prover, constraints, [name]),
            may="may leave it out",
            path=("properties", name),
        )
        for name in dict.fromkeys(names)
        if name not in constraints.required
    ]


def _min_properties(prover: Prover, constraints: Objects, goal: SchemaNode, count: int) -> list[Failure]:
    if constraints.fewest >= count:
        return []
    return [
        Failure(
            "json.min_properties_raised",
            f"wants at least {amount(count, 'property', 'properties')}",
            {"minProperties": count},
            excerpt(constraints, "type", "minProperties", "required"),
            plainly(lambda: (one for one in prover.examples.around(constraints) if len(one) < count)),
        )
    ]


def _max_properties(prover: Prover, constraints: Objects, goal: SchemaNode, count: int) -> list[Failure]:
    if constraints.most is not None and constraints.most <= count:
        return []
    bigger = goal.derive({"minProperties": int(count) + 1})

    def candidates() -> Iterator[Any]:
        for case in prover.cases.of((*constraints.terms, Term(bigger))):
            yield from prover.examples.of_case(case)

    return [
        Failure(
            "json.max_properties_lowered",
            f"wants at most {amount(count, 'property', 'properties')}",
            {"maxProperties": count},
            excerpt(constraints, "type", "maxProperties"),
            plainly(candidates),
        )
    ]


def _dependent_required(
    prover: Prover, constraints: Objects, goal: SchemaNode, named: dict[str, list[str]]
) -> list[Failure]:
    failures = []
    for trigger, beside in named.items():
        if prover.is_none(constraints.of(trigger)):
            continue
        for case in _with(prover, constraints, goal, trigger):
            missing = [name for name in beside if name not in case.required]
            if not missing or prover.is_empty(case):
                continue
            failures.append(
                Failure(
                    "json.dependent_required_added",
                    f"requires {listed(missing)} beside {shown(trigger)}",
                    {"dependentRequired": {trigger: beside}},
                    excerpt(constraints, "required", "dependentRequired"),
                    plainly(_without, prover, case, missing),
                    may=f"may write {shown(trigger)} without it",
                    path=("properties", trigger),
                )
            )
    return failures


def _dependent_schemas(
    prover: Prover, constraints: Objects, goal: SchemaNode, named: dict[str, SchemaNode]
) -> list[Failure]:
    return [
        failure
        for trigger, node in named.items()
        if not prover.is_none(constraints.of(trigger))
        for case in _with(prover, constraints, goal, trigger)
        for failure in prover.ask(case, node)
    ]


def _with(prover: Prover, constraints: Objects, goal: SchemaNode, name: str) -> list[Objects]:
    """The cases in which the property `name` is there."""
    if name in constraints.required:
        return [constraints]
    there = Term(goal.derive({"required": [name]}))
    return [case for case in prover.cases.of((*constraints.terms, there)) if isinstance(case, Objects)]


ANSWERS: dict[str, Answer] = {
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional,
    "unevaluatedProperties": _unevaluated,
    "propertyNames": _property_names,
    "required": _required,
    "minProperties": _min_properties,
    "maxProperties": _max_properties,
    "dependentRequired": _dependent_required,
    "dependentSchemas": _dependent_schemas,
}


def is_empty(prover: Prover, constraints: Objects) -> bool:
    """Whether such an object certainly does not exist."""
    if constraints.most is not None and constraints.most < constraints.fewest:
        return True
    return any(prover.is_none(constraints.of(name)) for name in constraints.required)
