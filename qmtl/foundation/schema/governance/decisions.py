"""Which mode a subject is in, and what must have been observed before it becomes strict: rules, no files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

from qmtl.foundation.errors import InvalidRequestError, PromotionRefusedError, TombstonedError
from qmtl.foundation.times import HOUR, SECOND, iso
from qmtl.foundation.words import counted

DEFAULT_WINDOW_S = 48 * 3600.0


class ValidationMode(StrEnum):
    """What a failure against the registered schema does: it is counted, or it raises."""

    CANARY = "canary"
    STRICT = "strict"


Action = Literal["promote", "rollback", "tombstone"]


class Decision(NamedTuple):
    """One step of a rollout, appended and never changed.

    at: nanoseconds. version: the one in force, or the one that is tombstoned; None for a rollback.
    entry: NUMBER:HASH of the audit entry that was written before it.
    """

    at: int
    action: Action
    version: int | None
    reason: str
    entry: str

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


class Observation(NamedTuple):
    """Rows checked against one version of a schema within one hour.

    hour: nanoseconds of its start. failed: those of `checked` that broke the schema.
    """

    version: int
    hour: int
    checked: int
    failed: int


class GovernanceRecords(Protocol):
    """Where decisions and observations are stored. Durable when a method returns; any thread, any process."""

    def decide(self, subject: str, decision: Decision) -> None:
        """Append a decision."""
        ...

    def decisions(self, subject: str) -> tuple[Decision, ...]:
        """All of a subject, in the order in which they were appended."""
        ...

    def observe(self, subject: str, observation: Observation) -> None:
        """Add to what was counted for that version and hour."""
        ...

    def observed(self, subject: str, since: int = 0) -> tuple[Observation, ...]:
        """One per version and hour, of the hours that end after `since` (ns); by hour, then version."""
        ...


class Governed(NamedTuple):
    """What the decisions of a subject add up to. `mode` is None where there is no decision yet.

    tombstones: the reason of each version that is refused to new readers.
    """

    mode: ValidationMode | None = None
    tombstones: Mapping[int, str] = MappingProxyType({})

    def refuse_tombstoned(self, subject: str, version: int) -> None:
        """Raise `TombstonedError` with the reason. Readers that must read it do not ask."""
        if version in self.tombstones:
            reason = self.tombstones[version]
            raise TombstonedError(
                f"version {version} of {subject} is tombstoned: {reason}",
                subject=subject,
                version=version,
                reason=reason,
                next_step="use another version; --tombstoned reads it all the same",
            )

    def newest(self, versions: Iterable[int]) -> int | None:
        """The newest version that is not tombstoned; None if there is none."""
        return max((version for version in versions if version not in self.tombstones), default=None)


def in_force(decisions: Iterable[Decision]) -> Governed:
    """Fold the decisions of one subject, oldest first."""
    mode: ValidationMode | None = None
    tombstones: dict[int, str] = {}
    for decision in decisions:
        match decision.action:
            case "promote":
                mode = ValidationMode.STRICT
            case "rollback":
                mode = ValidationMode.CANARY
            case "tombstone" if decision.version is not None:
                tombstones[decision.version] = decision.reason
    return Governed(mode, tombstones)


def hour_of(instant: int) -> int:
    """The start of the hour that holds an instant; both in nanoseconds."""
    return instant - instant % HOUR


def window_start(now: int, window_s: float) -> int:
    """Nanoseconds; nothing was observed before 1970, however long the window."""
    return max(now - int(window_s * SECOND), 0)


def evidence(
    observations: Iterable[Observation], version: int, *, now: int, window_s: float
) -> dict[str, Any]:
    """The evidence for and against strict validation of a version, as JSON values.

    An hour that the window cuts counts as a whole: what failed in it cannot be placed more exactly. A future
    hour counts, too: the clock of the observer was ahead.
    """
    since = window_start(now, window_s)
    within = [one for one in observations if since < one.hour + HOUR]
    ours = [one for one in within if one.version == version]
    failing = [one.hour for one in ours if one.failed]
    return {
        "window_s": window_s,
        "since": iso(since),
        "until": iso(now),
        "checked": sum(one.checked for one in ours),
        "failed": sum(one.failed for one in ours),
        "hours_observed": len(ours),
        "last_failing_hour": iso(max(failing)) if failing else None,
        # For information, no evidence for or against: these rows were checked against another schema.
        "other_versions": {
            str(other): {
                "checked": sum(one.checked for one in within if one.version == other),
                "failed": sum(one.failed for one in within if one.version == other),
            }
            for other in sorted({one.version for one in within} - {version})
        },
    }


def judge_promotion(subject: str, version: int, found: Mapping[str, Any]) -> None:
    """Raise `PromotionRefusedError` unless something was observed in the window, and nothing failed."""
    if found["checked"] > 0 and found["failed"] == 0:
        return
    if found["failed"]:
        what = f"{found['failed']:,} of {counted(found['checked'], 'row')} failed in the window"
        why = f"the last of them in the hour from {found['last_failing_hour']}"
    else:
        what = "nothing was observed in the window"
        why = "without observations nobody knows who would be hurt"
    raise PromotionRefusedError(
        f"version {version} of {subject} is not promoted: {what}",
        subject=subject,
        version=version,
        evidence=found,
        why=f"{why}; the window is [{found['since']}, {found['until']})",
        next_step="correct the data or the schema and wait until the window is clean; "
        "--override --reason TEXT promotes all the same, and is recorded",
    )


def reason_of(text: str, what: str) -> str:
    """A reason that says something. Raises `InvalidRequestError`."""
    if not text.strip():
        raise InvalidRequestError(f"{what} needs a reason", next_step="say it with --reason TEXT")
    return text.strip()
