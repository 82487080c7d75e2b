"""Whether all that one JSON Schema accepts can be read with another; each refusal is shown by an instance."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import islice
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.cycles import (
    LONGEST_CHAIN,
    CycleError,
    LongChainError,
    check_cycles,
)
from qmtl.foundation.schema.compatibility.json_schema.dialects import UnknownDialectError
from qmtl.foundation.schema.compatibility.json_schema.instances.examples import Examples
from qmtl.foundation.schema.compatibility.json_schema.instances.sizes import MOST_VALUES
from qmtl.foundation.schema.compatibility.json_schema.node import Term, UnresolvedReferenceError
from qmtl.foundation.schema.compatibility.json_schema.proof import prover as proofs
from qmtl.foundation.schema.compatibility.json_schema.proof.failure import Candidate, Failure
from qmtl.foundation.schema.compatibility.json_schema.proof.prover import Prover
from qmtl.foundation.schema.compatibility.json_schema.proof.sentences import shown
from qmtl.foundation.schema.compatibility.json_schema.proof.tables import TABLES
from qmtl.foundation.schema.compatibility.json_schema.schema_document import (
    DEEPEST,
    AmbiguousReferenceError,
    SchemaDocument,
    TooDeepError,
    open_document,
)
from qmtl.foundation.schema.compatibility.verdict import Counterexample, Notice, Problem, Verdict
from qmtl.foundation.schema.documents import Document

_MOST_CONFIRMED = 60
_NOT_FOUND = "no instance was found that shows the contrary"
_TOO_LARGE = f"what would show the contrary is too large to be built: more than {MOST_VALUES} values"

_BEYOND: dict[type[Exception], tuple[str, str]] = {
    TooDeepError: ("json.too_deep", f"a schema is nested more than {DEEPEST} levels deep"),
    proofs.TooDeepError: ("json.too_deep", "the comparison leads too many levels deep"),
    LongChainError: ("json.too_deep", f"references lead on in more than {LONGEST_CHAIN} steps"),
    RecursionError: ("json.too_deep", "the comparison leads too many levels deep"),
    proofs.TooLargeError: ("json.too_large", "the comparison takes too many steps"),
    CycleError: ("json.reference_unresolved", "a schema refers to itself in a circle"),
    OverflowError: ("json.too_large", "a number is too large to be reckoned with"),
    UnknownDialectError: ("json.dialect_unknown", "the dialect is neither 2020-12 nor draft-07"),
    UnresolvedReferenceError: ("json.reference_unresolved", "a reference leads nowhere"),
    AmbiguousReferenceError: ("json.reference_unresolved", "two documents go by the same address"),
    re.error: ("json.expression_unreadable", "a regular expression is not one of Python's"),
}


def compare(writer: Document, reader: Document) -> Verdict:
    """All problems of reading with `reader` what `writer` accepts.

    "Compatible" is proved, a problem has an instance that jsonschema confirmed, and what is neither is
    undecided; but for another declared unit, which is a problem by our own rule. Raises
    `MissingDependencyError` without the extra `schemas`.
    """
    try:
        return _compare(open_document(writer), open_document(reader))
    except tuple(_BEYOND) as error:
        rule, why = next(found for kind, found in _BEYOND.items() if isinstance(error, kind))
        detail = f" ({error})" if error.args and rule != "json.too_deep" else ""
        message = f"at the root it cannot be told whether the reader reads all: {why}{detail}"
        return Verdict((Problem("", rule, message, None, None, undecided=True),))


def _compare(writer: SchemaDocument, reader: SchemaDocument) -> Verdict:
    if writer.dialect is reader.dialect and writer.signature == reader.signature:
        return Verdict()
    for document in (writer, reader):
        if document.has_references:
            check_cycles(document.root)
    prover = Prover(TABLES)
    terms = (Term(writer.root),)
    failures = prover.prove_here(terms, reader.root)
    notices = tuple(
        Notice(pointer(path), rule, f"at {_where(path)} {sentence}")
        for (path, rule), sentence in prover.notices.items()
    )
    if not failures:
        return Verdict(notices=notices)
    judge = _Judge(writer, reader, prover.examples)
    return Verdict(tuple(judge.problems(failures, lambda: prover.examples.of(terms, 60))), notices)


class _Judge:
    """Shows failures by instances, where it can; jsonschema confirms each."""

    def __init__(self, writer: SchemaDocument, reader: SchemaDocument, built: Examples) -> None:
        self._writer, self._reader, self._built = writer, reader, built
        self._known: dict[str, bool] = {}

    def problems(self, failures: list[Failure], examples: Callable[[], Iterator[Any]]) -> list[Problem]:
        found: dict[tuple[tuple[str, ...], str], Problem] = {}
        for failure in failures:
            name = (failure.path, failure.rule)
            if name not in found or found[name].undecided:
                found[name] = self._problem(failure)
        problems = list(found.values())
        if all(problem.undecided for problem in problems):
            # Perhaps any instance at all shows what none of the chosen ones did.
            value = next((value for value in examples() if self._shows(value)), None)
            if value is not None:
                first, rest = problems[0], problems[1:]
                return [_shown(failures[0], Candidate(value, value), first.path), *rest]
        return problems

    def _problem(self, failure: Failure) -> Problem:
        if failure.by_rule:
            message = f"at {_where(failure.path)} the reader {failure.wants}; the writer {failure.may}"
            return _problem(failure, pointer(failure.path), message)
        self._built.is_cut = False
        for candidate in islice(failure.candidates(), _MOST_CONFIRMED):
            if self._shows(candidate.whole):
                return _shown(failure, candidate, pointer(failure.path))
        why = failure.unsure or (_TOO_LARGE if self._built.is_cut else _NOT_FOUND)
        message = f"at {_where(failure.path)} the reader {failure.wants}; undecided: {why}"
        return _problem(failure, pointer(failure.path), message, undecided=True)

    def _shows(self, value: Any) -> bool:
        text = repr(value)
        if text not in self._known:
            self._known[text] = (
                self._reader.root.confirms(value) is False and self._writer.root.confirms(value) is True
            )
        return self._known[text]


def _shown(failure: Failure, candidate: Candidate, path: str) -> Problem:
    may = failure.may or f"may write {shown(candidate.local)}"
    message = f"at {_where(failure.path)} the reader {failure.wants}; the writer {may}"
    return _problem(failure, path, message, Counterexample(deepcopy(candidate.whole)))


def _problem(
    failure: Failure,
    path: str,
    message: str,
    counterexample: Counterexample | None = None,
    *,
    undecided: bool = False,
) -> Problem:
    # Schemas and examples are shared by all comparisons, and a verdict belongs to whoever asked for it.
    writer, reader = deepcopy(failure.writer), deepcopy(failure.reader)
    return Problem(path, failure.rule, message, writer, reader, counterexample, undecided)


def pointer(path: tuple[str, ...]) -> str:
    """A JSON Pointer (RFC 6901)."""
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in path)


def _where(path: tuple[str, ...]) -> str:
    return pointer(path) or "the root"
