"""The verdict: what the walk finds, each problem with an instance that the library could not read either."""

from __future__ import annotations

from qmtl.foundation.schema.compatibility.avro.confirmation import Confirmation
from qmtl.foundation.schema.compatibility.avro.encoding import json_encoding
from qmtl.foundation.schema.compatibility.avro.limits import (
    MAX_HEIGHT,
    MAX_NESTING,
    MAX_PAIRS,
    MAX_PARTS,
    MAX_PARTS_IN_ALL,
    TooDeep,
    TooLarge,
)
from qmtl.foundation.schema.compatibility.avro.meaning import changes_of_meaning
from qmtl.foundation.schema.compatibility.avro.positions import Position, instance_at
from qmtl.foundation.schema.compatibility.avro.resolution import Unreadable, findings
from qmtl.foundation.schema.compatibility.avro.rules import MEANING
from qmtl.foundation.schema.compatibility.avro.schema_document import SchemaDocument, open_document
from qmtl.foundation.schema.compatibility.avro.sentences import Described, describe
from qmtl.foundation.schema.compatibility.verdict import Counterexample, Notice, Problem, Verdict
from qmtl.foundation.schema.documents import Document


def compare(writer: Document, reader: Document) -> Verdict:
    """Whether everything written with `writer` can be read with `reader`, as Avro 1.12 resolves schemas.

    A record that is used in several places is judged where it is met first. Raises `MissingDependencyError`
    where an instance is to be confirmed and fastavro is not installed.
    """
    try:
        written, read = open_document(writer), open_document(reader)
    except TooDeep:
        return _undecided("avro.too_deep", f"a schema nests deeper than {MAX_NESTING} levels")
    judgement = _Judgement(written, read)
    try:
        judgement.run()
    except TooLarge:
        # What was found so far is true, whatever else there is.
        why = f"more than {MAX_PAIRS} pairs of types would be compared"
        judgement.add(_problem_of_all("avro.too_large", why))
    return Verdict(tuple(judgement.problems.values()), tuple(judgement.notices.values()))


class _Judgement:
    """Problems and notices by path and rule, and how much may still be shown."""

    def __init__(self, writer: SchemaDocument, reader: SchemaDocument) -> None:
        self.writer = writer
        self.reader = reader
        self.smallest = writer.smallest
        self.problems: dict[tuple[str, str], Problem] = {}
        self.notices: dict[tuple[str, str], Notice] = {}
        self.parts_left = MAX_PARTS_IN_ALL
        self.confirmation: Confirmation | None = None

    def run(self) -> None:
        for found in findings(self.writer.graph, self.reader.graph, self.smallest):
            if isinstance(found, Unreadable):
                self.add(self.with_instance(found))
            else:
                self.judge_meaning(found.position)

    def add(self, problem: Problem | None) -> None:
        if problem is not None:
            self.problems.setdefault((problem.path, problem.rule), problem)

    def judge_meaning(self, position: Position) -> None:
        for rule in changes_of_meaning(position.writer, position.reader):
            described = describe(rule, position)
            if rule in MEANING:
                self.add(Problem(*described))
            else:
                key = (described.path, rule)
                self.notices.setdefault(key, Notice(described.path, rule, described.message))

    def with_instance(self, found: Unreadable) -> Problem | None:
        described = describe(found.rule, found.position, found.unfed, found.symbols)
        whole = instance_at(found.position, found.value, self.smallest)
        if whole.height > MAX_HEIGHT:
            why = f"the smallest instance nests deeper than {MAX_HEIGHT} levels"
            return _without_instance(described, "avro.too_deep", why)
        if whole.parts > min(MAX_PARTS, self.parts_left):
            why = f"the smallest instance has more than {MAX_PARTS} values, or all of them {MAX_PARTS_IN_ALL}"
            return _without_instance(described, "avro.too_large", why)
        self.parts_left -= whole.parts
        try:
            self.confirmation = self.confirmation or Confirmation(self.writer, self.reader)
        except TooDeep:
            why = f"references lead deeper than {MAX_NESTING} levels"
            return _without_instance(described, "avro.too_deep", why)
        if self.confirmation.has_nothing_to_resolve:
            return None
        if not self.confirmation.is_unreadable(whole.value):
            why = "fastavro reads the instance that should show it"
            return _without_instance(described, "avro.unconfirmed", why)
        return Problem(*described, Counterexample(json_encoding(whole.value)))


def _without_instance(described: Described, rule: str, why: str) -> Problem:
    message = f"{described.message}, which no instance shows: {why} ({rule})"
    return Problem(described.path, rule, message, described.writer, described.reader, undecided=True)


def _undecided(rule: str, why: str) -> Verdict:
    return Verdict((_problem_of_all(rule, why),))


def _problem_of_all(rule: str, why: str) -> Problem:
    return Problem("/", rule, f"/: not decided, as {why} ({rule})", None, None, undecided=True)
