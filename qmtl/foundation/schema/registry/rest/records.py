"""Decisions and observations that a registry behind a URL stores."""

from __future__ import annotations

from typing import Any

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.errors import SchemaRegistryError
from qmtl.foundation.schema.governance.decisions import Decision, Observation
from qmtl.foundation.schema.registry.rest import answers
from qmtl.foundation.schema.registry.rest.address import Address, Auth
from qmtl.foundation.schema.registry.rest.connection import Connection, Effect
from qmtl.foundation.times import SECOND, iso, to_ns

_DECISIONS = "/governance/decisions"
_OBSERVATIONS = "/governance/observations"
_NOT_FOUND = 404


class RemoteRecords:
    """`GovernanceRecords` over HTTP, of a registry that `qmtl serve registry` serves.

    `RemoteSchemaRegistryClient.records()` gives them by the connection of that client. Raises
    `RegistryUnavailableError` where it cannot be reached; a write that got no answer is not repeated. A
    registry of another kind has no such records: it answers none, and refuses to store one.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    def at(cls, url: str, *, auth: Auth | None = None, timeout_s: float = 10.0) -> RemoteRecords:
        """Over a connection of their own; auth: as of `RemoteSchemaRegistryClient`."""
        address = Address.read(url, auth)
        return cls(Connection(address, timeout_s=timeout_s, ca=None, clock=SystemClock()))

    def decide(self, subject: str, decision: Decision) -> None:
        self._post(_DECISIONS, {"subject": subject, **decision.to_json(), "at": iso(decision.at)})

    def decisions(self, subject: str) -> tuple[Decision, ...]:
        found = self._get(_DECISIONS, "decisions", subject=subject)
        return tuple(Decision(**{**one, "at": to_ns(one["at"])}) for one in found)

    def observe(self, subject: str, observation: Observation) -> None:
        body = {**observation._asdict(), "hour": iso(observation.hour)}
        self._post(_OBSERVATIONS, {"subject": subject, **body})

    def observed(self, subject: str, since: int = 0) -> tuple[Observation, ...]:
        found = self._get(_OBSERVATIONS, "observations", subject=subject, since=str(max(since, 0) // SECOND))
        return tuple(Observation(**{**one, "hour": to_ns(one["hour"])}) for one in found)

    def close(self) -> None:
        self._connection.close()

    def _get(self, path: str, name: str, **query: str) -> list[dict[str, Any]]:
        reply = self._connection.exchange("GET", path, Effect.READS, query=query)
        if reply.status == _NOT_FOUND:
            return []
        try:
            if reply.status != 200:
                raise answers.refusal(reply)
            found: list[dict[str, Any]] = reply.value[name]
        except (KeyError, TypeError) as error:
            raise self._connection.not_a_registry(reply) from error
        return found

    def _post(self, path: str, body: dict[str, Any]) -> None:
        reply = self._connection.exchange("POST", path, Effect.WRITES, body=body)
        if reply.status == _NOT_FOUND:
            raise SchemaRegistryError(
                f"the registry at {self._connection.address.url} keeps no records of governance",
                code=_NOT_FOUND,
                why="it is of another kind than 'qmtl serve registry'",
                next_step="unset connectors.schema_registry_url to keep them in the store of bars",
            )
        if reply.status != 200:
            try:
                raise answers.refusal(reply)
            except (KeyError, TypeError) as error:
                raise self._connection.not_a_registry(reply) from error
