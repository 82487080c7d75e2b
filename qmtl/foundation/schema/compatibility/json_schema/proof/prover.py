"""The proof itself: the writer's terms are taken apart into cases, and each case answers every keyword."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.constraints.cases import AnyConstraints, Cases
from qmtl.foundation.schema.compatibility.json_schema.constraints.values import Values
from qmtl.foundation.schema.compatibility.json_schema.cycles import CycleError
from qmtl.foundation.schema.compatibility.json_schema.instances.examples import Examples, fulfils
from qmtl.foundation.schema.compatibility.json_schema.node import SchemaNode, Term, Terms, same
from qmtl.foundation.schema.compatibility.json_schema.proof.failure import Failure

_MOST_STEPS = 20_000
_DEEPEST = 60

Question = tuple[frozenset[Term], SchemaNode]


class TooLargeError(Exception):
    """The comparison takes more steps than allowed."""


class TooDeepError(Exception):
    """The comparison leads more levels deep than allowed."""


Answer = Callable[["Prover", Any, SchemaNode, Any], list[Failure]]


@dataclass(frozen=True, slots=True)
class Tables:
    """Who answers which keyword: for one type of the writer's case, or for all types."""

    of_type: dict[str, dict[str, Answer]]
    of_every_type: dict[str, Answer]
    of_values: Answer
    of_node: Callable[[Prover, Terms, SchemaNode], list[Failure]]
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
        self._answered_quietly: set[Question] = set()
        self._asked: dict[Question, int] = {}
        self.notices: dict[tuple[tuple[str, ...], str], str] = {}
        self.path: tuple[str, ...] = ()
        self.is_quiet = False
        self._level = 0
        self._nested = 0
        self._steps = 0

    def prove(
        self, terms: Terms, goal: SchemaNode, path: tuple[str, ...], build: Callable[[Any], Iterator[Any]]
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
        return self.is_proved(terms, terms[0].node.derive(False))

    def is_proved(self, terms: Terms, goal: SchemaNode) -> bool:
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

    def prove_here(self, terms: Terms, goal: SchemaNode) -> list[Failure]:
        """The same, of the instance of the current question."""
        if any(term.holds and (term.node.value is False or same(term.node, goal)) for term in terms):
            return []
        by_rule = [] if self.is_quiet else self._tables.of_node(self, terms, goal)
        return by_rule + self._prove(terms, goal)

    def _prove(self, terms: Terms, goal: SchemaNode) -> list[Failure]:
        if goal.accepts_everything:
            return []
        terms = tuple(Term(term.node.behind, term.holds) for term in terms)
        goal = goal.behind
        question = (frozenset(terms), goal)
        known = self._answers.get(question)
        # A quiet question asks whether there is a failure, so its answer need not hold all of them.
        if known is not None and (self.is_quiet or not known or question not in self._answered_quietly):
            return known
        if question in self._asked:
            if self._asked[question] < self._level:
                return []
            raise CycleError
        self._count()
        if self._level > _DEEPEST:
            raise TooDeepError
        before = len(self._answers)
        self._asked[question] = self._level
        proved = False
        try:
            failures: list[Failure] = []
            for constraints in self.cases.of(terms):
                failures += self.ask(constraints, goal)
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
        (self._answered_quietly.add if self.is_quiet else self._answered_quietly.discard)(question)
        return failures

    def ask(self, constraints: AnyConstraints, goal: SchemaNode) -> list[Failure]:
        """Failures to show that one case is valid against `goal`."""
        self._count()
        if goal.accepts_everything or any(same(node, goal) for node in constraints.positive):
            return []
        self._nested += 1
        if self._nested > 8 * _DEEPEST:
            raise TooDeepError
        try:
            if isinstance(constraints, Values):
                return self._tables.of_values(self, constraints, goal, None)
            failures = self._ask_keywords(constraints, goal)
        finally:
            self._nested -= 1
        return [] if failures and self.is_empty(constraints) else failures

    def _ask_keywords(self, constraints: AnyConstraints, goal: SchemaNode) -> list[Failure]:
        if goal.value is False:
            return self._tables.of_every_type["false"](self, constraints, goal, None)
        of_type = self._tables.of_type[constraints.type]
        failures: list[Failure] = []
        for keyword, argument in goal.keywords.items():
            answer = of_type.get(keyword) or self._tables.of_every_type.get(keyword)
            if answer is not None:
                failures += answer(self, constraints, goal, argument)
                if failures and (keyword == "type" or self.is_quiet):
                    break
        return failures

    def is_empty(self, constraints: AnyConstraints) -> bool:
        """Whether there is certainly no instance of this case."""
        # Nearly always the case is one node alone, which other comparisons have asked about before.
        alone = (
            constraints.terms[0].node if len(constraints.terms) == 1 and constraints.terms[0].holds else None
        )
        if alone is not None and constraints.type in alone.inhabited:
            return False
        if any(fulfils(constraints.terms, value) for value in islice(self.examples.of_case(constraints), 2)):
            # An instance at hand is cheaper than the search for a proof that there is none.
            if alone is not None:
                alone.inhabited.add(constraints.type)
            return False
        try:
            with self._quietly():
                return self._is_empty(constraints)
        except TooDeepError:
            return False

    def _is_empty(self, constraints: AnyConstraints) -> bool:
        if isinstance(constraints, Values):
            return not constraints.values
        if self._tables.is_empty[constraints.type](self, constraints):
            return True
        simple = tuple(term for term in constraints.terms if term.holds)
        return any(
            # What contradicts a denied schema: that it can be proved from all the rest.
            len(node.keywords) > 1 and not self._prove_quietly(simple, node)
            for node in constraints.negative
        )

    def _prove_quietly(self, terms: Terms, node: SchemaNode) -> list[Failure]:
        try:
            return self.prove_here(terms, node)
        except CycleError:
            return [_UNDECIDED]

    def are_none(self, terms: Terms) -> bool:
        """Whether certainly nothing fulfils `terms`; they are about the instance of the current question."""
        return all(self.is_empty(constraints) for constraints in self.cases.of(terms))

    def _count(self) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise TooLargeError


_UNDECIDED = Failure("json.too_large", "", None, None, lambda: ())
