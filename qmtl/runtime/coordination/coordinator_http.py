"""Requests to a coordinator: one attempt each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from qmtl.foundation.errors import CoordinatorUnavailableError, MissingDependencyError
from qmtl.foundation.leases import LeaseKey
from qmtl.foundation.words import shown
from qmtl.runtime.coordination.answer_shapes import Shape
from qmtl.runtime.coordination.coordinator_address import checked_token, checked_url
from qmtl.runtime.coordination.coordinator_answers import Asked, Response, answer_of

if TYPE_CHECKING:
    import aiohttp

# The coordinator answers within 4 s, whatever happens behind it.
ANSWER_S = 5.0
_CONNECT_S = 1.0


class NotSentError(CoordinatorUnavailableError):
    """Nobody took the request, so that nothing of it can have been done."""


class CoordinatorHttp:
    """Used on one event loop. token: sent as a bearer token, and shown nowhere."""

    def __init__(self, url: str, token: str | None) -> None:
        if find_spec("aiohttp") is None:
            raise MissingDependencyError("aiohttp", extra="fleet")
        self.url = checked_url(url).rstrip("/")
        self._headers = {"content-type": "application/json"}
        if (token := checked_token(token)) is not None:
            self._headers["authorization"] = f"Bearer {token}"
        self._session: aiohttp.ClientSession | None = None

    async def post(self, path: str, body: Mapping[str, Any], shape: Shape, *, about: LeaseKey | None) -> Any:
        """The answer to `POST /v1/leases/<path>`. about: the first lease that is concerned, for errors."""
        return await self.ask("POST", f"/v1/leases/{path}", shape, body, about=about)

    async def ask(
        self,
        method: str,
        path: str,
        shape: Shape,
        body: Mapping[str, Any] | None = None,
        *,
        about: LeaseKey | None = None,
    ) -> Any:
        """The answer, which has the shape.

        Raises what `answer_of` raises; `NotSentError`; and `CoordinatorUnavailableError` where the request
        may have been done, or may yet be.
        """
        import aiohttp  # takes longer to load than all that is done without a coordinator

        asked = Asked(self.url, method, path, about)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=ANSWER_S, sock_connect=_CONNECT_S), headers=self._headers
            )
        try:
            data = None if body is None else json.dumps(body)
            # A redirect would carry the token elsewhere, and turn POST into GET.
            async with self._session.request(
                method, self.url + path, data=data, allow_redirects=False
            ) as response:
                kind, location = response.headers.get("content-type", ""), response.headers.get("location")
                seen = Response(response.status, kind, await response.read(), location)
        except aiohttp.ClientSSLError as cause:
            raise asked.bad(f"no TLS connection: {cause}") from cause
        except aiohttp.ClientConnectorError as cause:
            raise asked.unavailable(NotSentError, cause.os_error.strerror or str(cause)) from cause
        except aiohttp.ClientResponseError as cause:
            raise asked.bad(f"no answer in HTTP: {shown(cause.message)}") from cause
        except (TimeoutError, aiohttp.ClientError) as cause:
            why = str(cause) or f"no answer came within {ANSWER_S:g} s"
            raise asked.unavailable(CoordinatorUnavailableError, why) from cause
        return answer_of(asked, seen, shape)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
