"""The proof itself: the writer's terms are taken apart into cases, and each case answers every keyword."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.circles import CircleError
from qmtl.foundation.schema.compatibility.json_schema.facts.cases import Cases, Facts
from qmtl.foundation.schema.compatibility.json_schema.facts.values import Values
from qmtl.foundation.schema.compatibility.json_schema.instances.examples import Examples, fulfils
from qmtl.foundation.schema.compatibility.json_schema.place import Place, Term, Terms, same
from qmtl.foundation.schema.compatibility.json_schema.proof.failure import Failure

_MOST_STEPS = 20_000
_DEEPEST = 60

Question = tuple[frozenset[Term], Place]


class TooLargeError(Exception):
    """The comparison takes more steps than allowed."""


class TooDeepError(Exception):
    """The comparison leads more levels deep than allowed."""


Answer = Callable[["Prover", Any, Place, Any], list[Failure]]


@dataclass(frozen=True, slots=True)
class Tables:
    """Who answers which keyword: for one type of the writer's case, or for all types."""

    of_type: dict[str, dict[str, Answer]]
    of_every_type: dict[str, Answer]
    of_values: Answer
    of_place: Callable[[Prover, Terms, Place], list[Failure]]
    is_empty: dict[str, Callable[[Prover, Any], bool]]


class Prover:
    """One comparison. What it proves is true; what it cannot prove comes back as failures.

    A question that is asked again while it is being answered, one level or more further into the instance,
    may be taken as answered: instances are finite, so no smallest one can show the contrary.
    """

    def __init__(self, tables: Tables) -> None:
        self.cases = Cases()
        self.examples = Examples(self.cases)
        self._tables = tables
        self._answers: dict[Question, list[Failure]] = {}
        self._told_quietly: set[Question] = set()
        self._asked: dict[Question, int] = {}
        self.notices: dict[tuple[tuple[str, ...], str], str] = {}
        self.path: tuple[str, ...] = ()
        self.is_quiet = False
        self._level = 0
        self._nested = 0
        self._steps = 0

    def prove(
        self, terms: Terms, goal: Place, path: tuple[str, ...], build: Callable[[Any], Iterator[Any]]
    ) -> list[Failure]:
        """Failures to show that what stands one level further in, and fulfils `terms`, fulfils `goal`.

        build: puts a value that stands there into the one that is asked about now.
        """
        self._level += 1
        self.path += path
        try:
            failures = self.prove_here(terms, goal)
        finally:
            self._level -= 1
            self.path = self.path[: len(self.path) - len(path)]
        return failures if self.is_quiet else [failure.below(path, build) for failure in failures]

    def is_none(self, terms: Terms) -> bool:
        """Whether certainly nothing one level further in fulfils `terms`."""
        if not terms:
            return False
        return self.is_proved(terms, terms[0].place.derive(False))

    def is_proved(self, terms: Terms, goal: Place) -> bool:
        """Whether all that fulfils `terms`, one level further in, is certainly valid against `goal`."""
        with self._quietly():
            return not self.prove(terms, goal, (), lambda _: iter(()))

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """What is asked meanwhile is no comparison of the two sides, and worth no notice."""
        quiet, self.is_quiet = self.is_quiet, True
        try:
            yield
        finally:
            self.is_quiet = quiet

    def prove_here(self, terms: Terms, goal: Place) -> list[Failure]:
        """The same, of an instance that is asked about already."""
        if any(term.holds and (term.place.value is False or same(term.place, goal)) for term in terms):
            return []
        by_rule = [] if self.is_quiet else self._tables.of_place(self, terms, goal)
        return by_rule + self._prove(terms, goal)

    def _prove(self, terms: Terms, goal: Place) -> list[Failure]:
        if goal.accepts_everything:
            return []
        terms = tuple(Term(term.place.behind, term.holds) for term in terms)
        goal = goal.behind
        question = (frozenset(terms), goal)
        known = self._answers.get(question)
        # Who asks quietly wants to know whether there is a failure, and is not told all of them.
        if known is not None and (self.is_quiet or not known or question not in self._told_quietly):
            return known
        if question in self._asked:
            if self._asked[question] < self._level:
                return []
            raise CircleError
        self._count()
        if self._level > _DEEPEST:
            raise TooDeepError
        before = len(self._answers)
        self._asked[question] = self._level
        proved = False
        try:
            failures: list[Failure] = []
            for facts in self.cases.of(terms):
                failures += self.ask(facts, goal)
                if failures and self.is_quiet:
                    break
            proved = not failures
        finally:
            del self._asked[question]
            if not proved:
                # Answers found meanwhile may rest on this one.
                for name in [name for name in list(self._answers)[before:] if not self._answers[name]]:
                    del self._answers[name]
        self._answers[question] = failures
        (self._told_quietly.add if self.is_quiet else self._told_quietly.discard)(question)
        return failures

    def ask(self, facts: Facts, goal: Place) -> list[Failure]:
        """Failures to show that one case is valid against `goal`."""
        self._count()
        if goal.accepts_everything or any(same(place, goal) for place in facts.positive):
            return []
        self._nested += 1
        if self._nested > 8 * _DEEPEST:
            raise TooDeepError
        try:
            if isinstance(facts, Values):
                return self._tables.of_values(self, facts, goal, None)
            failures = self._ask_keywords(facts, goal)
        finally:
            self._nested -= 1
        return [] if failures and self.is_empty(facts) else failures

    def _ask_keywords(self, facts: Facts, goal: Place) -> list[Failure]:
        if goal.value is False:
            return self._tables.of_every_type["false"](self, facts, goal, None)
        of_type = self._tables.of_type[facts.type]
        failures: list[Failure] = []
        for keyword, argument in goal.keywords.items():
            answer = of_type.get(keyword) or self._tables.of_every_type.get(keyword)
            if answer is not None:
                failures += answer(self, facts, goal, argument)
                if failures and (keyword == "type" or self.is_quiet):
                    break
        return failures

    def is_empty(self, facts: Facts) -> bool:
        """Whether there is certainly no instance of this case."""
        # Nearly always the case is one place alone, which other comparisons have asked about before.
        alone = facts.terms[0].place if len(facts.terms) == 1 and facts.terms[0].holds else None
        if alone is not None and facts.type in alone.inhabited:
            return False
        if any(fulfils(facts.terms, value) for value in islice(self.examples.of_case(facts), 2)):
            # An instance at hand is cheaper than the search for a proof that there is none.
            if alone is not None:
                alone.inhabited.add(facts.type)
            return False
        try:
            with self._quietly():
                return self._is_empty(facts)
        except TooDeepError:
            return False

    def _is_empty(self, facts: Facts) -> bool:
        if isinstance(facts, Values):
            return not facts.values
        if self._tables.is_empty[facts.type](self, facts):
            return True
        simple = tuple(term for term in facts.terms if term.holds)
        return any(
            # What contradicts a denied schema: that it can be proved from all the rest.
            len(place.keywords) > 1 and not self._prove_quietly(simple, place)
            for place in facts.negative
        )

    def _prove_quietly(self, terms: Terms, place: Place) -> list[Failure]:
        try:
            return self.prove_here(terms, place)
        except CircleError:
            return [_NOT_TOLD]

    def are_none(self, terms: Terms) -> bool:
        """Whether certainly nothing fulfils `terms`, which speak of an instance asked about already."""
        return all(self.is_empty(facts) for facts in self.cases.of(terms))

    def _count(self) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise TooLargeError


_NOT_TOLD = Failure("json.too_large", "", None, None, lambda: ())
