"""Decisions and observations kept by a registry behind a URL."""

from __future__ import annotations

from typing import Any

from qmtl.foundation.errors import SchemaRegistryError
from qmtl.foundation.schema.governance import Decision, Observation
from qmtl.foundation.schema.remote_http import RegistryHttp
from qmtl.foundation.times import iso, to_ns

_DECISIONS = "/governance/decisions"
_OBSERVATIONS = "/governance/observations"
_NOT_FOUND = 404


class RemoteRecords:
    """`GovernanceRecords` over HTTP, of a registry that `qmtl serve registry` serves.

    url, token: as of `RegistryHttp`. Raises `RegistryUnavailableError` where it cannot be reached. A registry
    of another kind has no such records: nothing was ever decided or observed there, and nothing can be.
    """

    def __init__(self, url: str, *, token: str | None = None, timeout_s: float = 10.0) -> None:
        self._http = RegistryHttp(url, token=token, timeout_s=timeout_s)

    def decide(self, subject: str, decision: Decision) -> None:
        self._post(_DECISIONS, {"subject": subject, **decision.to_json(), "at": iso(decision.at)})

    def decisions(self, subject: str) -> tuple[Decision, ...]:
        found = self._get(_DECISIONS, subject=subject)
        return tuple(Decision(**{**one, "at": to_ns(one["at"])}) for one in found.get("decisions", ()))

    def observe(self, subject: str, observation: Observation) -> None:
        said = {**observation._asdict(), "hour": iso(observation.hour)}
        self._post(_OBSERVATIONS, {"subject": subject, **said})

    def observed(self, subject: str, since: int = 0) -> tuple[Observation, ...]:
        found = self._get(_OBSERVATIONS, subject=subject, since=iso(since))
        return tuple(
            Observation(**{**one, "hour": to_ns(one["hour"])}) for one in found.get("observations", ())
        )

    def close(self) -> None:
        self._http.close()

    def _get(self, path: str, **query: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._http.get(path, **query)
        except SchemaRegistryError as refusal:
            if refusal.code != _NOT_FOUND:
                raise
            return {}
        return found

    def _post(self, path: str, said: dict[str, Any]) -> None:
        try:
            self._http.post(path, said)
        except SchemaRegistryError as refusal:
            if refusal.code != _NOT_FOUND:
                raise
            raise SchemaRegistryError(
                f"the registry at {self._http.url} keeps no records of governance",
                code=_NOT_FOUND,
                why="it is of another kind than 'qmtl serve registry'",
                next_step="unset connectors.schema_registry_url to keep them in the store of bars",
            ) from None
