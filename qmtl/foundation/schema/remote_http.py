"""Asking a registry over HTTP, and what its refusals and its silence mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qmtl.foundation.errors import MissingDependencyError, RegistryUnavailableError, SchemaRegistryError

if TYPE_CHECKING:
    import httpx

_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"


class RegistryHttp:
    """One registry. Safe to use from any thread.

    url: credentials may stand in it (https://NAME:PASSWORD@HOST). token: a bearer token.
    Raises `SchemaRegistryError` with the registry's own code, and `RegistryUnavailableError` where it cannot
    be reached, or fails (5xx): nothing was checked then.
    """

    def __init__(self, url: str, *, token: str | None = None, timeout_s: float = 10.0) -> None:
        try:
            import httpx
        except ImportError:
            raise MissingDependencyError("httpx", extra="schemas") from None
        headers = {"Accept": f"{_MEDIA_TYPE}, application/json;q=0.9"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        self._client = httpx.Client(base_url=url, timeout=timeout_s, headers=headers)
        # Without credentials, for messages and logs.
        self.url = str(self._client.base_url.copy_with(userinfo=b"")).rstrip("/")

    def get(self, path: str, **query: object) -> Any:
        return self._ask("GET", path, query)

    def post(self, path: str, body: Mapping[str, Any], **query: object) -> Any:
        return self._ask("POST", path, query, body)

    def put(self, path: str, body: Mapping[str, Any], **query: object) -> Any:
        return self._ask("PUT", path, query, body)

    def delete(self, path: str, **query: object) -> Any:
        return self._ask("DELETE", path, query)

    def close(self) -> None:
        self._client.close()

    def _ask(
        self, method: str, path: str, query: Mapping[str, object], body: Mapping[str, Any] | None = None
    ) -> Any:
        import httpx

        params = {
            name: _written(value) for name, value in query.items() if value is not None and value is not False
        }
        sent = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        headers = {} if body is None else {"Content-Type": _MEDIA_TYPE}
        try:
            answer = self._client.request(method, path, params=params, content=sent, headers=headers)
        except httpx.HTTPError as failure:
            raise self._unavailable(f"{type(failure).__name__}: {failure}") from failure
        try:
            said = answer.json()
        except ValueError as failure:
            # A proxy, or something that is no registry.
            raise self._unavailable(f"it answered {answer.status_code} without JSON") from failure
        if answer.is_success:
            return said
        code, message = _refusal(answer, said)
        if code // 100 == 5 or code // 10_000 == 5:
            raise self._unavailable(message, code=code)
        raise SchemaRegistryError(message, code=code)

    def _unavailable(self, why: str, *, code: int = 503) -> RegistryUnavailableError:
        return RegistryUnavailableError(
            "the schema registry could not be asked",
            url=self.url,
            code=code,
            why=f"{self.url}: {why}",
            next_step="check connectors.schema_registry_url, and whether the registry runs",
        )


def _written(value: object) -> str:
    return "true" if value is True else str(value)


def _refusal(answer: httpx.Response, said: Any) -> tuple[int, str]:
    if isinstance(said, dict) and isinstance(said.get("error_code"), int):
        return said["error_code"], str(said.get("message", answer.reason_phrase))
    return answer.status_code, f"HTTP {answer.status_code} {answer.reason_phrase}"
