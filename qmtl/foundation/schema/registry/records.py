"""Decisions and observations as records of a registry's storage, beside the subjects that they are about."""

from __future__ import annotations

import json

from qmtl.foundation.schema.governance.decisions import Decision, Governed, Observation, in_force
from qmtl.foundation.schema.registry.storage import Record, RegistryStorage, RegistryView
from qmtl.foundation.times import HOUR

_DECISION = "decision"
_OBSERVATION = "observation"


class RegistryRecords:
    """`GovernanceRecords` in the storage of a registry: one record a decision, one an hour and version."""

    def __init__(self, storage: RegistryStorage) -> None:
        self._storage = storage

    def decide(self, subject: str, decision: Decision) -> None:
        with self._storage.writing() as view:
            number = len(view.records(_DECISION, subject)) + 1
            text = json.dumps(decision.to_json(), separators=(",", ":"))
            view.put_record(Record(_DECISION, subject, f"{number:010}", text))

    def decisions(self, subject: str) -> tuple[Decision, ...]:
        with self._storage.reading() as view:
            return _decisions(view, subject)

    def observe(self, subject: str, observation: Observation) -> None:
        version, hour, checked, failed = observation
        key = _key(hour, version)
        with self._storage.writing() as view:
            for record in view.records(_OBSERVATION, subject, after=_key(hour, version - 1)):
                if record.key == key:
                    before = Observation(*json.loads(record.value))
                    checked, failed = checked + before.checked, failed + before.failed
            value = json.dumps([version, hour, checked, failed], separators=(",", ":"))
            view.put_record(Record(_OBSERVATION, subject, key, value))

    def observed(self, subject: str, since: int = 0) -> tuple[Observation, ...]:
        with self._storage.reading() as view:
            # Of the hour that ends at `since` exactly, nothing lies after it.
            found = view.records(_OBSERVATION, subject, after=_key(max(since - HOUR, 0), 10**10 - 1))
        return tuple(Observation(*json.loads(record.value)) for record in found)


def governed(view: RegistryView, subject: str) -> Governed:
    """What is in force for a subject, within one transaction."""
    return in_force(_decisions(view, subject))


def _decisions(view: RegistryView, subject: str) -> tuple[Decision, ...]:
    return tuple(Decision(**json.loads(record.value)) for record in view.records(_DECISION, subject))


def _key(hour: int, version: int) -> str:
    """Sorts by hour, then version. Hours are of a clock that runs today, so never before 1970."""
    return f"{hour:020}/{version:010}"
