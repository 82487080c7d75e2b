"""The records of governance over HTTP: decisions and observations of a subject, as they are stored."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from qmtl.foundation.schema.governance.decisions import (
    Action,
    Decision,
    GovernanceRecords,
    Observation,
    ValidationMode,
    in_force,
)
from qmtl.foundation.schema.registry.rules.versions import checked_subject
from qmtl.foundation.times import HOUR, SECOND, iso, to_ns
from qmtl.services.registry.routes import refused
from qmtl.services.registry.wire import LARGEST, Answer


def _an_instant(text: str) -> str:
    # Pydantic reports a ValueError as a fault of the request.
    return iso(to_ns(text))


def _an_hour(text: str) -> str:
    if to_ns(text) % HOUR or to_ns(text) < 0:
        raise ValueError(f"{text} is not the start of an hour since 1970")
    return iso(to_ns(text))


Instant = Annotated[
    str,
    AfterValidator(_an_instant),
    Field(description="ISO 8601 in UTC, down to nanoseconds.", examples=["2026-01-01T00:00:00.5Z"]),
]
Hour = Annotated[
    str,
    AfterValidator(_an_hour),
    Field(description="The start of an hour, ISO 8601 in UTC.", examples=["2026-01-01T00:00:00Z"]),
]
Subject = Annotated[
    str,
    AfterValidator(checked_subject),
    WithJsonSchema({"type": "string", "minLength": 1, "pattern": "^[^\\x00-\\x1f\\x7f-\\x9f]+$"}),
]
# Whole seconds since 1970, as hours begin and end with them; up to the year 9999.
Seconds = Annotated[int, Query(ge=0, le=253_402_300_799)]
Version = Annotated[int, Field(strict=True, ge=1, le=LARGEST)]
Rows = Annotated[int, Field(strict=True, ge=0, le=2**53)]


class DecisionModel(BaseModel):
    """One step of a rollout. `entry` is NUMBER:HASH of the audit entry that was written before it."""

    model_config = ConfigDict(extra="forbid")

    at: Instant
    action: Action
    version: Version | None = None
    reason: Annotated[str, Field(max_length=10_000)] = ""
    entry: Annotated[str, Field(pattern=r"^[1-9][0-9]*:[0-9a-f]{64}$")]


class NewDecision(DecisionModel):
    subject: Subject


class GovernedModel(BaseModel):
    """What is in force for a subject, and every decision that led there, oldest first."""

    subject: str
    mode: ValidationMode | None
    tombstones: dict[int, str]
    decisions: list[DecisionModel]


class CountsModel(BaseModel):
    """All rows checked against one version within one hour: `checked`, and those of them that `failed`."""

    version: int
    hour: Hour
    checked: int
    failed: int


class NewObservation(BaseModel):
    """Rows checked against one version within one hour: `checked`, and those of them that `failed`."""

    model_config = ConfigDict(extra="forbid")

    subject: Subject
    version: Version
    hour: Hour
    checked: Rows
    failed: Rows

    @model_validator(mode="after")
    def _failed_of_checked(self) -> NewObservation:
        if self.failed > self.checked:
            raise ValueError("more rows failed than were checked")
        return self


class ObservedModel(BaseModel):
    """By hour, then version."""

    subject: str
    observations: list[CountsModel]


def governance_routes(records: GovernanceRecords) -> APIRouter:
    """`/governance/...`, to be mounted in the application of the registry.

    Subjects go in the query, so that any text can be one. Reading needs the role read, an observation write,
    a decision admin.
    """
    router = APIRouter(
        prefix="/governance", tags=["governance"], default_response_class=Answer, responses=refused(422)
    )

    @router.get("/decisions")
    def decisions(subject: Annotated[Subject, Query()]) -> GovernedModel:
        """What is in force for a subject. Without a decision it has no mode."""
        found = records.decisions(subject)
        governed = in_force(found)
        return GovernedModel(
            subject=subject,
            mode=governed.mode,
            tombstones=dict(governed.tombstones),
            decisions=[DecisionModel(**{**one.to_json(), "at": iso(one.at)}) for one in found],
        )

    @router.post("/decisions")
    def decide(sent: NewDecision) -> DecisionModel:
        """Append a decision; it is in force when this answers."""
        values: dict[str, Any] = sent.model_dump(exclude={"subject"})
        records.decide(sent.subject, Decision(**{**values, "at": to_ns(sent.at)}))
        return DecisionModel(**values)

    @router.get("/observations")
    def observed(subject: Annotated[Subject, Query()], since: Seconds = 0) -> ObservedModel:
        """What was counted in the hours that end after `since`, in seconds since 1970."""
        found = records.observed(subject, since * SECOND)
        rows = [CountsModel(**{**one._asdict(), "hour": iso(one.hour)}) for one in found]
        return ObservedModel(subject=subject, observations=rows)

    @router.post("/observations")
    def observe(sent: NewObservation) -> CountsModel:
        """Add to what was counted for that version and hour."""
        values: dict[str, Any] = sent.model_dump(exclude={"subject"})
        records.observe(sent.subject, Observation(**{**values, "hour": to_ns(sent.hour)}))
        return CountsModel(**values)

    return router
