"""Requests to a coordinator: one attempt each, and what its answers mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from qmtl.foundation.errors import CoordinatorUnavailableError, LeaseError, MissingDependencyError
from qmtl.foundation.leases import LeaseKey

if TYPE_CHECKING:
    import aiohttp

# The coordinator answers within 4 s, whatever happens behind it.
ANSWER_S = 5.0
_CONNECT_S = 1.0

_CONFLICT = 409
_NEXT = {
    401: "set `seamless.coordinator_token` in qmtl.yml, or QMTL_SEAMLESS_COORDINATOR_TOKEN",
    403: "give the token a role that may write",
}


class LostError(Exception):
    """409: what the worker believed to hold, it does not hold. lost: lease keys, as texts."""

    def __init__(self, why: str, lost: frozenset[str]) -> None:
        super().__init__(why)
        self.why = why
        self.lost = lost


class NotSentError(CoordinatorUnavailableError):
    """Nobody took the request, so that nothing of it can have been done."""


class CoordinatorHttp:
    """Used on one event loop. token: sent as a bearer token, and shown nowhere."""

    def __init__(self, url: str, token: str | None) -> None:
        if find_spec("aiohttp") is None:
            raise MissingDependencyError("aiohttp", extra="fleet")
        self.url = url.rstrip("/")
        self._headers = {"content-type": "application/json"}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"
        self._session: aiohttp.ClientSession | None = None

    async def post(self, path: str, body: Mapping[str, Any], *, about: LeaseKey | None) -> Any:
        """The answer to `POST /v1/leases/<path>`. about: the first lease that is concerned, for errors."""
        return await self.ask("POST", f"/v1/leases/{path}", body, about=about)

    async def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, about: LeaseKey | None = None
    ) -> Any:
        """The answer.

        Raises `LostError`; `LeaseError` for what the coordinator refuses; `NotSentError`; and
        `CoordinatorUnavailableError` where the request may have been done, or may yet be.
        """
        import aiohttp  # takes longer to load than all that is done without a coordinator

        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=ANSWER_S, sock_connect=_CONNECT_S), headers=self._headers
            )
        try:
            data = None if body is None else json.dumps(body)
            async with self._session.request(method, self.url + path, data=data) as response:
                status, text = response.status, await response.read()
        except aiohttp.ClientConnectorError as cause:
            raise self._unavailable(NotSentError, cause.os_error.strerror or str(cause)) from cause
        except (TimeoutError, aiohttp.ClientError) as cause:
            why = str(cause) or f"no answer came within {ANSWER_S:g} s"
            raise self._unavailable(CoordinatorUnavailableError, why) from cause
        try:
            answer = json.loads(text)
        except ValueError as cause:
            raise self._unavailable(CoordinatorUnavailableError, f"HTTP {status} without JSON") from cause
        if status < 400:
            return answer
        why = str(answer.get("detail", f"HTTP {status}"))
        if status >= 500:
            raise self._unavailable(CoordinatorUnavailableError, why)
        if status == _CONFLICT:
            raise LostError(why, frozenset(answer.get("lost", ())))
        raise LeaseError(
            f"the coordinator refuses with HTTP {status}",
            lease_key="" if about is None else str(about),
            why=why,
            next_step=_NEXT.get(status, f"see whether {self.url} is a coordinator of this version of qmtl"),
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _unavailable(self, kind: type[CoordinatorUnavailableError], why: str) -> CoordinatorUnavailableError:
        return kind(
            f"the coordinator does not answer at {self.url}",
            url=self.url,
            why=why,
            next_step=f"see whether {self.url}/readyz answers",
        )
