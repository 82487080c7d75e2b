"""Bodies of answers, as Confluent's registry gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field

from qmtl.foundation.errors import IncompatibleSchemaError, SchemaRegistryError
from qmtl.foundation.schema.compatibility.levels import Comparison
from qmtl.foundation.schema.compatibility.verdict import Notice, Problem
from qmtl.foundation.schema.documents import Schema, SchemaType
from qmtl.foundation.schema.registry.contract import Registered
from qmtl.services.http.wording import JSONAnswer, Wording, as_json, sentence

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
# The best first.
OFFERED = (MEDIA_TYPE, "application/vnd.schemaregistry+json", "application/json")
ACCEPTED = (*OFFERED, "application/octet-stream")

# What an answer holds of one value (as JSON) and of one sentence, unless all is asked for: a schema of 1 MiB
# may be answered with thousands of problems, each of which quotes it.
VALUE_BYTES = 64 * 1024
SENTENCE_CHARACTERS = 4 * 1024

# Java's int, in which Confluent's clients keep ids and versions.
LARGEST = 2**31 - 1


class Answer(JSONAnswer):
    """In the media type of Confluent's API."""

    media_type = MEDIA_TYPE


# What goes out, for the OpenAPI page.


class ErrorAnswer(BaseModel):
    error_code: int
    message: str


class DetailAnswer(BaseModel):
    """One place where a reader cannot read what a writer may write.

    `counterexample` is there if one was found: an instance that the writer's schema accepts and the reader's
    rejects. `undecided` is there, and true, where the engine could not decide.

    A `writer`, `reader` or `counterexample` of over 64 KiB of JSON is null, and `writer_bytes`,
    `reader_bytes` or `counterexample_bytes` is there and gives its size. A `message` of over 4096 characters
    is cut, and says how many there were. A comparison that is asked for with `whole=true` has all.
    """

    version: int
    direction: str
    path: str
    rule: str
    message: str
    writer: Any
    reader: Any
    counterexample: Any = None
    undecided: bool = False
    writer_bytes: int = 0
    reader_bytes: int = 0
    counterexample_bytes: int = 0


class NoticeAnswer(BaseModel):
    """Compatible, and worth a warning."""

    version: int
    direction: str
    path: str
    rule: str
    message: str


class ComparedAnswer(BaseModel):
    """A version that the schema was compared with, and the direction."""

    version: int
    direction: str


class IncompatibleAnswer(ErrorAnswer):
    compared: list[ComparedAnswer] = []
    details: list[DetailAnswer] = []
    notices: list[NoticeAnswer] = []


class CompatibilityAnswer(BaseModel):
    """All but `is_compatible` is there only with `verbose=true` or `whole=true`."""

    is_compatible: bool
    messages: list[str] = []
    compared: list[ComparedAnswer] = []
    details: list[DetailAnswer] = []
    notices: list[NoticeAnswer] = []


class ReferenceAnswer(BaseModel):
    name: str
    subject: str
    version: int


class SchemaAnswer(BaseModel):
    """`schemaType` is left out for Avro, and `references` where there are none."""

    schema_: Annotated[str, Field(alias="schema")]
    schemaType: str = "AVRO"
    references: list[ReferenceAnswer] = []


class SchemaOfIdAnswer(SchemaAnswer):
    """`maxId` is there only with `fetchMaxId=true`: the highest id that was ever given."""

    maxId: int = 0


class VersionAnswer(SchemaAnswer):
    subject: str
    version: int
    id: int


class RegisteredAnswer(BaseModel):
    id: int
    version: int


class UsageAnswer(BaseModel):
    subject: str
    version: int


class LevelAnswer(BaseModel):
    compatibilityLevel: str


class NewLevelAnswer(BaseModel):
    compatibility: str


class ModeAnswer(BaseModel):
    mode: str


# Values of ours as values of JSON.


def schema_json(schema: Schema) -> dict[str, Any]:
    """Of a schema alone."""
    body: dict[str, Any] = {"schema": schema.text}
    if schema.type is not SchemaType.AVRO:
        body["schemaType"] = schema.type.value
    if schema.references:
        body["references"] = [reference._asdict() for reference in schema.references]
    return body


def version_json(found: Registered) -> dict[str, Any]:
    """Of a version of a subject."""
    return {
        "subject": found.subject,
        "version": found.version,
        "id": found.id,
        **schema_json(found.schema),
    }


def comparisons_json(comparisons: Iterable[Comparison], *, whole: bool = False) -> dict[str, Any]:
    """All comparisons, and all their problems and notices, in order; large values and sentences are cut
    unless `whole`.
    """
    pairs = [({"version": version, "direction": way}, verdict) for version, way, verdict in comparisons]
    keep: Callable[[dict[str, Any]], dict[str, Any]] = dict if whole else _bounded
    return {
        "compared": [pair for pair, _ in pairs],
        "details": [
            {**pair, **keep(_problem(problem))} for pair, verdict in pairs for problem in verdict.problems
        ],
        "notices": [
            {**pair, **keep(_notice(notice))} for pair, verdict in pairs for notice in verdict.notices
        ],
    }


def _bounded(body: dict[str, Any]) -> dict[str, Any]:
    bounded = {**body, "message": _cut(body["message"])}
    for name in ("writer", "reader", "counterexample"):
        size = len(as_json(body[name])) if name in body else 0
        if size > VALUE_BYTES:
            bounded |= {name: None, f"{name}_bytes": size}
    return bounded


def _cut(text: str) -> str:
    if len(text) <= SENTENCE_CHARACTERS:
        return text
    return f"{text[:SENTENCE_CHARACTERS]}... ({len(text)} characters, of which these are the first)"


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "path": problem.path,
        "rule": problem.rule,
        "message": problem.message,
        "writer": problem.writer,
        "reader": problem.reader,
        **({} if problem.counterexample is None else {"counterexample": problem.counterexample.value}),
        **({"undecided": True} if problem.undecided else {}),
    }


def compatibility_json(comparisons: tuple[Comparison, ...], *, verbose: bool, whole: bool) -> dict[str, Any]:
    """The verdict, and with `verbose` or `whole` why."""
    body: dict[str, Any] = {"is_compatible": all(c.verdict.is_compatible for c in comparisons)}
    if verbose or whole:
        more = comparisons_json(comparisons, whole=whole)
        body["messages"] = [
            f"version {detail['version']}, {detail['direction']}: {detail['message']}"
            for detail in more["details"]
        ]
        body |= more
    return body


def _notice(notice: Notice) -> dict[str, str]:
    return {"path": notice.path, "rule": notice.rule, "message": notice.message}


def refusal(
    status: int, message: str, *, code: int | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """The body of every error. Without a code of its own it has that of HTTP."""
    return Answer({"error_code": code or status, "message": message}, status, headers)


def refusal_of(error: SchemaRegistryError) -> Answer:
    """What the registry refuses, with its own message."""
    body: dict[str, Any] = {"error_code": error.code, "message": _cut(sentence(error))}
    if isinstance(error, IncompatibleSchemaError):
        body |= comparisons_json(error.comparisons)
    return Answer(body, error.status)


WORDING = Wording(
    answer=Answer,
    offered=OFFERED,
    accepted=ACCEPTED,
    refuse=refusal,
    error_model=ErrorAnswer,
    error_type=MEDIA_TYPE,
    failure="The storage failed (50001).",
)
