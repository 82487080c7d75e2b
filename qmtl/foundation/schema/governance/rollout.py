"""The steps of a rollout: checked against observations, written into the audit log, then put in force."""

from __future__ import annotations

from dataclasses import replace

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.errors import QmtlError
from qmtl.foundation.schema.governance.audit import Anchor, Entry, Event
from qmtl.foundation.schema.governance.audit_file import AuditLog
from qmtl.foundation.schema.governance.bundle import Bundle
from qmtl.foundation.schema.governance.decisions import (
    DEFAULT_WINDOW_S,
    Action,
    Decision,
    GovernanceRecords,
    evidence,
    judge_promotion,
    reason_of,
    window_start,
)


class Rollout:
    """Every step leaves an entry with the fingerprint of the bundle in force, before it takes effect.

    A step that is written and then cannot be put in force leaves a second entry: `not_applied`, or
    `not_confirmed` where the records cannot be read to see whether it is in force.
    """

    def __init__(
        self,
        records: GovernanceRecords,
        log: AuditLog,
        bundle: Bundle,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._records = records
        self._log = log
        self._bundle = bundle
        self._clock = clock or SystemClock()

    def promote(
        self,
        subject: str,
        version: int,
        *,
        window_s: float = DEFAULT_WINDOW_S,
        override: bool = False,
        reason: str = "",
    ) -> Entry:
        """To strict. Raises `PromotionRefusedError` if observations forbid it; `override` needs a reason."""
        now = self._clock.now()
        observed = self._records.observed(subject, window_start(now, window_s))
        found = evidence(observed, version, now=now, window_s=window_s)
        if override:
            reason = reason_of(reason, "--override")
        else:
            judge_promotion(subject, version, found)
        event = Event("promote", subject, version, evidence={**found, "override": override, "reason": reason})
        return self._take(event, "promote", reason)

    def rollback(self, subject: str, *, reason: str = "") -> Entry:
        """To canary, whatever was before. Readers see it within five seconds."""
        return self._take(Event("rollback", subject, evidence={"reason": reason}), "rollback", reason)

    def tombstone(self, subject: str, version: int, *, reason: str) -> Entry:
        """Refuse a version to new readers."""
        reason = reason_of(reason, "a tombstone")
        return self._take(
            Event("tombstone", subject, version, evidence={"reason": reason}), "tombstone", reason
        )

    def _take(self, event: Event, action: Action, reason: str) -> Entry:
        subject = event.subject or ""
        entry = self._log.append(with_bundle(self._bundle, event))
        decision = Decision(
            self._clock.now(), action, event.version, reason, str(Anchor(entry.number, entry.hash))
        )
        try:
            self._records.decide(subject, decision)
        except BaseException as failure:
            # A registry may have decided, and its answer got lost.
            applied = self._is_applied(subject, decision)
            if applied and isinstance(failure, QmtlError):
                return entry
            if not applied:
                why = " ".join(str(failure).split()) or type(failure).__name__
                undone = "not_confirmed" if applied is None else "not_applied"
                second = replace(event, action=undone, evidence={"entry": entry.number, "why": why})
                self._log.append(with_bundle(self._bundle, second))
            raise
        return entry

    def _is_applied(self, subject: str, decision: Decision) -> bool | None:
        """Whether it is in force; None where the records cannot be read either."""
        try:
            return decision in self._records.decisions(subject)
        except QmtlError:
            return None


def with_bundle(bundle: Bundle, event: Event) -> Event:
    """The event with the bundle in force, its fingerprint computed now."""
    return replace(event, bundle=bundle.folder.as_posix(), bundle_sha256=bundle.sha256)
