"""Decisions and observations kept by a registry behind a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qmtl.foundation.errors import MissingDependencyError, RegistryUnavailableError, SchemaRegistryError
from qmtl.foundation.schema.governance import Decision, Observation
from qmtl.foundation.times import iso, to_ns

if TYPE_CHECKING:
    import httpx

_DECISIONS = "/governance/decisions"
_OBSERVATIONS = "/governance/observations"
_NOT_FOUND = 404


class RemoteRecords:
    """`GovernanceRecords` over HTTP, of a registry that `qmtl serve registry` serves.

    url: of the registry; credentials may stand in it (https://NAME:PASSWORD@HOST). token: a bearer token.
    Raises `RegistryUnavailableError` where it cannot be reached. A registry of another kind has no such
    records: nothing was ever decided or observed there, and nothing can be.
    """

    def __init__(self, url: str, *, token: str | None = None, timeout_s: float = 10.0) -> None:
        try:
            import httpx
        except ImportError:
            raise MissingDependencyError("httpx", extra="schemas") from None
        self.url = url
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._client = httpx.Client(base_url=url, timeout=timeout_s, headers=headers)

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
        self._client.close()

    def _get(self, path: str, **query: str) -> dict[str, Any]:
        answer = self._ask("GET", path, params=query)
        if answer.status_code == _NOT_FOUND:
            return {}
        self._refused(answer)
        found: dict[str, Any] = answer.json()
        return found

    def _post(self, path: str, said: dict[str, Any]) -> None:
        answer = self._ask("POST", path, json=said)
        if answer.status_code == _NOT_FOUND:
            raise SchemaRegistryError(
                f"the registry at {self._client.base_url.host} keeps no records of governance",
                code=_NOT_FOUND,
                why="it is of another kind than 'qmtl serve registry'",
                next_step="unset connectors.schema_registry_url to keep them in the store of bars",
            )
        self._refused(answer)

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        import httpx

        try:
            return self._client.request(method, path, **options)
        except httpx.HTTPError as failure:
            host = self._client.base_url.host
            raise RegistryUnavailableError(
                f"the schema registry at {host} cannot be reached",
                url=str(self._client.base_url.copy_with(userinfo=b"")),
                why=f"{type(failure).__name__}: {failure}",
                next_step="check connectors.schema_registry_url, and whether the registry runs",
            ) from failure

    @staticmethod
    def _refused(answer: httpx.Response) -> None:
        if answer.is_success:
            return
        try:
            said = answer.json()
            code, what = int(said["error_code"]), str(said["message"])
        except (ValueError, KeyError, TypeError):
            code, what = answer.status_code, f"{answer.status_code} {answer.reason_phrase}"
        raise SchemaRegistryError(f"the schema registry refuses: {what}", code=code)
