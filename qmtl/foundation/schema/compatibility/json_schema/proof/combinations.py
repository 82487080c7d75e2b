"""What a reader asks in combination: types, references, all, any or one of several schemas, not, if."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.facts.cases import Facts
from qmtl.foundation.schema.compatibility.json_schema.facts.numbers import Numbers
from qmtl.foundation.schema.compatibility.json_schema.facts.values import Values
from qmtl.foundation.schema.compatibility.json_schema.instances.numbers import numbers
from qmtl.foundation.schema.compatibility.json_schema.place import Place, Term, same
from qmtl.foundation.schema.compatibility.json_schema.proof.failure import Candidate, Failure, plainly
from qmtl.foundation.schema.compatibility.json_schema.proof.prover import Answer, Prover
from qmtl.foundation.schema.compatibility.json_schema.proof.sentences import said
from qmtl.foundation.schema.compatibility.json_schema.proof.splits import split
from qmtl.foundation.schema.compatibility.json_schema.proof.values import wants_listed, wants_type

_MOST_SPLITS = 4
_COMBINED = ("type", "anyOf", "oneOf")


def _type(prover: Prover, facts: Facts, goal: Place, types: str | list[str]) -> list[Failure]:
    names = [types] if isinstance(types, str) else types
    if facts.type in names or (facts.type == "number" and "integer" in names and _whole(facts)):
        return []

    def candidates() -> Iterator[Any]:
        if isinstance(facts, Numbers):
            yield from (number for number in numbers(facts, (0.5,)) if "integer" not in names or number % 1)
        else:
            yield from prover.examples.of_case(facts)

    return [
        Failure(
            "json.type_narrowed", wants_type(types), {"type": types}, said(facts, "type"), plainly(candidates)
        )
    ]


def _whole(facts: Facts) -> bool:
    return isinstance(facts, Numbers) and facts.integer


def _nothing(prover: Prover, facts: Facts, goal: Place, _: Any) -> list[Failure]:
    return [
        Failure(
            "json.nothing_accepted",
            "accepts nothing",
            False,
            said(facts, "type"),
            plainly(lambda: prover.examples.of_case(facts)),
        )
    ]


def _reference(prover: Prover, facts: Facts, goal: Place, _: str) -> list[Failure]:
    return prover.ask(facts, goal.target)


def _dynamic_reference(prover: Prover, facts: Facts, goal: Place, reference: str) -> list[Failure]:
    return [
        Failure(
            "json.dynamic_reference",
            "uses $dynamicRef",
            {"$dynamicRef": reference},
            said(facts, "type"),
            plainly(lambda: prover.examples.of_case(facts)),
            unsure="what it leads to depends on the way by which it was reached",
        )
    ]


def _all_of(prover: Prover, facts: Facts, goal: Place, places: list[Place]) -> list[Failure]:
    return [failure for place in places for failure in prover.ask(facts, place)]


def _any_of(prover: Prover, facts: Facts, goal: Place, places: list[Place]) -> list[Failure]:
    return _some(prover, facts, goal, places, _MOST_SPLITS)


def _some(prover: Prover, facts: Facts, goal: Place, places: list[Place], splits: int) -> list[Failure]:
    """Failures to show that one of `places` accepts the whole case, or one each of its parts."""
    attempts = []
    live = []
    for place in places:
        failures = prover.ask(facts, place)
        if not failures:
            return []
        if not prover.are_none((*facts.terms, Term(place))):
            live.append(place)
            attempts.append(failures)
    if len(live) == 1:
        return attempts[0]
    parts = list(split(prover, facts, live)) if splits and live else []
    if parts:
        found = []
        for part in parts:
            for case in prover.cases.of((*facts.terms, part)):
                found += (
                    _some(prover, case, goal, live, splits - 1)
                    if case.type == facts.type and not isinstance(case, Values)
                    else prover.ask(case, goal)
                )
        return found
    return _best(prover, facts, goal, attempts, len(places))


def _best(
    prover: Prover, facts: Facts, goal: Place, attempts: list[list[Failure]], count: int
) -> list[Failure]:
    """The failures of the alternative that was meant, if it can be seen which; else one for all of them."""
    # Where no alternative is left, none was meant.
    meant = [failures for failures in attempts if not any(map(_tells_apart, failures))]
    if len(meant) == 1:
        return meant[0]
    keyword = "anyOf" if "anyOf" in goal.keywords else "oneOf"

    def candidates() -> Iterator[Candidate]:
        tries = [failure.candidates() for failures in meant or attempts for failure in failures]
        return chain((one._replace(local=one.whole) for one in chain(*tries)), _examples(prover, facts))

    return [
        Failure(
            "json.no_alternative",
            f"wants one of {count} alternatives",
            {keyword: goal.value.get(keyword)},
            said(facts, *_COMBINED, "properties", "required", "items"),
            candidates,
            unsure="the alternatives may accept it together",
        )
    ]


def _examples(prover: Prover, facts: Facts) -> Iterator[Candidate]:
    return (Candidate(value, value) for value in prover.examples.of_case(facts, 30))


def _tells_apart(failure: Failure) -> bool:
    """Whether a failure looks as if this alternative was never meant: another type, another constant."""
    if failure.rule in ("json.type_narrowed", "json.nothing_accepted") and not failure.path:
        return True
    return failure.rule in ("json.const_changed", "json.enum_narrowed") and len(failure.path) <= 2


def _one_of(prover: Prover, facts: Facts, goal: Place, places: list[Place]) -> list[Failure]:
    failures = _some(prover, facts, goal, places, _MOST_SPLITS)
    live = [place for place in places if not prover.are_none((*facts.terms, Term(place)))]
    for index, one in enumerate(live):
        for other in live[index + 1 :]:
            both = (*facts.terms, Term(one), Term(other))
            if not prover.are_none(both):
                failures.append(_overlap(prover, facts, goal, both, (one, other)))
    return failures


def _overlap(
    prover: Prover, facts: Facts, goal: Place, both: tuple[Term, ...], pair: tuple[Place, Place]
) -> Failure:
    return Failure(
        "json.one_of_overlap",
        "wants exactly one of its alternatives, and two accept the same",
        {"oneOf": [place.value for place in pair]},
        said(facts, *_COMBINED),
        plainly(lambda: prover.examples.of(both)),
        unsure="whether the alternatives overlap",
    )


def _not(prover: Prover, facts: Facts, goal: Place, place: Place) -> list[Failure]:
    if any(same(denied, place) for denied in facts.negative):
        return []
    both = (*facts.terms, Term(place))
    if prover.are_none(both):
        return []
    return [
        Failure(
            "json.not_matched",
            "excludes some values with not",
            {"not": place.value},
            said(facts, *_COMBINED, "not"),
            plainly(lambda: prover.examples.of(both)),
            unsure="whether the writer can write what is excluded",
        )
    ]


def _if(prover: Prover, facts: Facts, goal: Place, condition: Place) -> list[Failure]:
    failures = []
    for holds, keyword in ((True, "then"), (False, "else")):
        if keyword in goal.keywords:
            for case in prover.cases.of((*facts.terms, Term(condition, holds))):
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
