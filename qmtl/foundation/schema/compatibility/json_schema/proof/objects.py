"""What a reader asks of an object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.facts.evaluated import properties_evaluated
from qmtl.foundation.schema.compatibility.json_schema.facts.objects import Objects, Others, matches, others_of
from qmtl.foundation.schema.compatibility.json_schema.instances.objects import other_names
from qmtl.foundation.schema.compatibility.json_schema.place import Place, Term, Terms
from qmtl.foundation.schema.compatibility.json_schema.proof.failure import Failure, plainly
from qmtl.foundation.schema.compatibility.json_schema.proof.prover import Answer, Prover
from qmtl.foundation.schema.compatibility.json_schema.proof.sentences import listed, said, shown
from qmtl.foundation.schema.compatibility.json_schema.words.search import Wanted, find_words

Build = Callable[[Any], Iterator[Any]]


def _as_refused(failures: list[Failure], path: tuple[str, ...]) -> list[Failure]:
    return [
        replace(failure, rule="json.property_refused", wants="reads no such property")
        if failure.rule == "json.nothing_accepted" and failure.path == path
        else failure
        for failure in failures
    ]


def _ask(prover: Prover, terms: Terms, goal: Place, path: tuple[str, ...], build: Build) -> list[Failure]:
    return _as_refused(prover.prove(terms, goal, path, build), path)


def _at(prover: Prover, facts: Objects, name: str) -> Build:
    return lambda value: prover.examples.around(facts, {name: value})


def _without(prover: Prover, facts: Objects, names: list[str]) -> Iterator[Any]:
    """Objects that lack one of `names`."""
    return (one for name in names for one in prover.examples.around(facts, absent=frozenset((name,))))


def _at_some(
    prover: Prover, facts: Objects, *, accept: tuple[str, ...] = (), refuse: tuple[str, ...] = ()
) -> Build:
    """Puts a value under some name that is not known, but matches expressions or does not."""

    def build(value: Any) -> Iterator[Any]:
        for name in other_names(facts, set(facts.names), accept=accept, refuse=refuse):
            yield from islice(prover.examples.around(facts, {name: value}), 1)

    return build


def _properties(prover: Prover, facts: Objects, goal: Place, named: dict[str, Place]) -> list[Failure]:
    alike = _alike(facts, goal)
    return [
        failure
        for name, place in named.items()
        if name not in alike
        for failure in _ask(prover, facts.of(name), place, ("properties", name), _at(prover, facts, name))
    ]


def _alike(facts: Objects, goal: Place) -> set[str]:
    """Properties of which both sides say the same: a look at all of them at once."""
    return {
        name
        for place in facts.positive
        if place.dialect is goal.dialect
        for name, _ in goal.settled & place.settled
    }


def _pattern_properties(
    prover: Prover, facts: Objects, goal: Place, named: dict[str, Place]
) -> list[Failure]:
    return [
        failure
        for pattern, place in named.items()
        for failure in _all_that_match(prover, facts, pattern, place)
    ]


def _all_that_match(prover: Prover, facts: Objects, pattern: str, place: Place) -> list[Failure]:
    failures = []
    for name in facts.names:
        if matches(pattern, name):
            path = ("properties", name)
            failures += _ask(prover, facts.of(name), place, path, _at(prover, facts, name))
    for known, places in facts.patterns.items():
        if known != pattern and find_words(Wanted((known, pattern))).none_exists:
            continue
        terms = tuple(Term(one) for one in places)
        build = _at_some(prover, facts, accept=(known, pattern))
        failures += _ask(prover, terms, place, ("patternProperties", known), build)
    if not facts.no_others and not find_words(Wanted((pattern,), tuple(facts.patterns))).none_exists:
        build = _at_some(prover, facts, accept=(pattern,), refuse=tuple(facts.patterns))
        failures += _ask(prover, facts.of_others, place, ("patternProperties", pattern), build)
    return failures


def _additional(prover: Prover, facts: Objects, goal: Place, _: Place) -> list[Failure]:
    return _rest(prover, facts, others_of(goal))


def _unevaluated(prover: Prover, facts: Objects, goal: Place, place: Place) -> list[Failure]:
    seen = properties_evaluated(goal, generously=False)
    if seen.all:
        return []
    failures = _rest(prover, facts, Others(frozenset(seen.names), tuple(seen.patterns), place))
    return [
        replace(failure, unsure="which properties count as evaluated depends on the instance")
        for failure in failures
    ]


def _rest(prover: Prover, facts: Objects, asked: Others) -> list[Failure]:
    """Properties that are additional to what the reader names."""
    failures = []
    for name in facts.names:
        if name not in asked.names and asked.covers(name):
            path = ("properties", name)
            failures += _ask(prover, facts.of(name), asked.place, path, _at(prover, facts, name))
    for known, places in facts.patterns.items():
        if known in asked.patterns or _all_match(facts, known, asked.patterns):
            continue
        terms = tuple(Term(one) for one in places)
        build = _at_some(prover, facts, accept=(known,), refuse=asked.patterns)
        failures += _ask(prover, terms, asked.place, ("patternProperties", known), build)
    if not facts.no_others and not _all_match(facts, None, asked.patterns):
        build = _at_some(prover, facts, refuse=(*facts.patterns, *asked.patterns))
        failures += _ask(prover, facts.of_others, asked.place, ("additionalProperties",), build)
    return failures


def _all_match(facts: Objects, known: str | None, patterns: tuple[str, ...]) -> bool:
    """Whether each name (that matches `known`) matches one of `patterns`."""
    if not patterns:
        return False
    accept = tuple(
        place.keywords["pattern"] for place in facts.said("propertyNames") if "pattern" in place.keywords
    )
    accept += () if known is None else (known,)
    return find_words(Wanted(accept, patterns)).none_exists


def _property_names(prover: Prover, facts: Objects, goal: Place, place: Place) -> list[Failure]:
    def build(name: Any) -> Iterator[Any]:
        for value in prover.examples.of(facts.of(name), 3):
            yield from islice(prover.examples.around(facts, {name: value}), 1)

    failures: list[Failure] = []
    refused = [name for name in facts.names if place.accepts(name) is not True]
    refused = [name for name in refused if not prover.is_none(facts.of(name))]
    if refused:
        failures.append(
            Failure(
                "json.property_names_narrowed",
                "does not read that name",
                {"propertyNames": place.value},
                said(facts, "propertyNames"),
                plainly(lambda: (value for name in refused for value in build(name))),
                may=f"may write the property {shown(refused[0])}",
                path=("propertyNames",),
            )
        )
    kinds: list[Terms] = [(Term(goal.derive({"type": "string", "pattern": one})),) for one in facts.patterns]
    if not facts.no_others and not prover.is_none(facts.of_others):
        kinds.append((Term(goal.derive({"type": "string"})),))
    for terms in kinds:
        found = prover.prove((*terms, *facts.of_names), place, ("propertyNames",), build)
        failures += [replace(one, rule="json.property_names_narrowed") for one in found]
    return failures


def _required(prover: Prover, facts: Objects, goal: Place, names: list[str]) -> list[Failure]:
    return [
        Failure(
            "json.required_added",
            f"requires {shown(name)}",
            {"required": names},
            {"required": sorted(facts.required)},
            plainly(_without, prover, facts, [name]),
            may="may leave it out",
            path=("properties", name),
        )
        for name in dict.fromkeys(names)
        if name not in facts.required
    ]


def _min_properties(prover: Prover, facts: Objects, goal: Place, count: int) -> list[Failure]:
    if facts.fewest >= count:
        return []
    return [
        Failure(
            "json.min_properties_raised",
            f"wants at least {shown(count)} properties",
            {"minProperties": count},
            said(facts, "type", "minProperties", "required"),
            plainly(lambda: (one for one in prover.examples.around(facts) if len(one) < count)),
        )
    ]


def _max_properties(prover: Prover, facts: Objects, goal: Place, count: int) -> list[Failure]:
    if facts.most is not None and facts.most <= count:
        return []
    bigger = goal.derive({"minProperties": int(count) + 1})

    def candidates() -> Iterator[Any]:
        for case in prover.cases.of((*facts.terms, Term(bigger))):
            yield from prover.examples.of_case(case)

    return [
        Failure(
            "json.max_properties_lowered",
            f"wants at most {shown(count)} properties",
            {"maxProperties": count},
            said(facts, "type", "maxProperties"),
            plainly(candidates),
        )
    ]


def _dependent_required(
    prover: Prover, facts: Objects, goal: Place, named: dict[str, list[str]]
) -> list[Failure]:
    failures = []
    for trigger, beside in named.items():
        if prover.is_none(facts.of(trigger)):
            continue
        for case in _with(prover, facts, goal, trigger):
            missing = [name for name in beside if name not in case.required]
            if not missing or prover.is_empty(case):
                continue
            failures.append(
                Failure(
                    "json.dependent_required_added",
                    f"requires {listed(missing)} beside {shown(trigger)}",
                    {"dependentRequired": {trigger: beside}},
                    said(facts, "required", "dependentRequired"),
                    plainly(_without, prover, case, missing),
                    may=f"may write {shown(trigger)} without it",
                    path=("properties", trigger),
                )
            )
    return failures


def _dependent_schemas(prover: Prover, facts: Objects, goal: Place, named: dict[str, Place]) -> list[Failure]:
    return [
        failure
        for trigger, place in named.items()
        if not prover.is_none(facts.of(trigger))
        for case in _with(prover, facts, goal, trigger)
        for failure in prover.ask(case, place)
    ]


def _with(prover: Prover, facts: Objects, goal: Place, name: str) -> list[Objects]:
    """The cases in which the property `name` is there."""
    if name in facts.required:
        return [facts]
    there = Term(goal.derive({"required": [name]}))
    return [case for case in prover.cases.of((*facts.terms, there)) if isinstance(case, Objects)]


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


def is_empty(prover: Prover, facts: Objects) -> bool:
    """Whether such an object certainly does not exist."""
    if facts.most is not None and facts.most < facts.fewest:
        return True
    return any(prover.is_none(facts.of(name)) for name in facts.required)
