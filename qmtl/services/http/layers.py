"""Layers around an application, each with one promise: raw paths, credentials, bounded bodies, counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

import anyio.to_thread
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qmtl.foundation.clock import Clock
from qmtl.foundation.observability.metrics import Metrics
from qmtl.services.http.access import Credentials, Role
from qmtl.services.http.wording import Refuse

# Each guess of a password takes 16 MiB for some tens of milliseconds.
_LOGINS_AT_ONCE = 2

_CHALLENGES = [
    (b"www-authenticate", b'Basic realm="qmtl", charset="UTF-8"'),
    (b"www-authenticate", b'Bearer realm="qmtl"'),
]

# What may be a label: anybody may make up more.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RawPaths:
    """Routes see the path as it was sent, so that %2F separates no parts; a `/` at the end is ignored."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["raw_path"].decode("latin-1")
            scope["path"] = path[:-1] if len(path) > 1 and path.endswith("/") else path
        await self._app(scope, receive, send)


class Authenticated:
    """Without credentials a request gets 401, with a lower role 403. `unguarded` paths are open to all."""

    def __init__(
        self,
        app: ASGIApp,
        credentials: Credentials,
        role_for: Callable[[str, str, bytes], Role],
        *,
        unguarded: Collection[str],
        refuse: Refuse,
    ) -> None:
        """`role_for` is asked with the method, the path and the query."""
        self._app = app
        self._credentials = credentials
        self._role_for = role_for
        self._unguarded = unguarded
        self._refuse = refuse
        self._logins = anyio.CapacityLimiter(_LOGINS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self._unguarded:
            role = await self._role(_header(scope, b"authorization"))
            if role is None:
                refusal = self._refuse(401, "no credentials, or wrong ones")
                refusal.raw_headers += _CHALLENGES
                await refusal(scope, receive, send)
                return
            needed = self._role_for(scope["method"], scope["path"], scope["query_string"])
            if role < needed:
                message = (
                    f"this needs the role {needed.name.lower()}; these credentials have {role.name.lower()}"
                )
                await self._refuse(403, message)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _role(self, authorization: str | None) -> Role | None:
        if authorization is None:
            return None
        known = self._credentials.remembered(authorization)
        if known is not None:
            return known
        return await anyio.to_thread.run_sync(self._credentials.role_of, authorization, limiter=self._logins)


class BoundedBodies:
    """A body has at most `limit` bytes (413), a type in `accepted` and no packing (415), comes as a whole.

    within_s: so many seconds it may take to arrive (408, RFC 9110).
    """

    def __init__(
        self, app: ASGIApp, *, limit: int, within_s: float, accepted: Sequence[str], refuse: Refuse
    ) -> None:
        self._app = app
        self._limit = limit
        self._within_s = within_s
        self._accepted = accepted
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("POST", "PUT"):
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._within_s):
                body = await self._whole(scope, receive)
        except _Gone:
            return
        except TimeoutError:
            message = f"the body was not there within {self._within_s:g} seconds"
            await self._refuse(408, message, headers={"connection": "close"})(scope, receive, send)
            return
        if body is None:
            message = f"the body has more than {self._limit} bytes"
            # What is left of it stays unread.
            await self._refuse(413, message, headers={"connection": "close"})(scope, receive, send)
            return
        kind = _header(scope, b"content-type") or ""
        if body and kind.partition(";")[0].strip().lower() not in self._accepted:
            message = f"the content type {kind!r} is not read here; send {self._accepted[0]}"
            await self._refuse(415, message)(scope, receive, send)
            return
        packed = _header(scope, b"content-encoding") or "identity"
        if packed.strip().lower() != "identity":
            message = f"the content encoding {packed!r} is not read here; send the body as it is"
            await self._refuse(415, message, headers={"accept-encoding": "identity"})(scope, receive, send)
            return
        # Under any accepted name it is JSON: the application need not know all the names.
        headers = [pair for pair in scope["headers"] if pair[0] != b"content-type"]
        scope["headers"] = [*headers, (b"content-type", b"application/json")]
        await self._app(scope, Replayed(body, receive), send)

    async def _whole(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body; None once it is seen to be too long. `_Gone` if its end never came."""
        declared = _header(scope, b"content-length")
        if declared is not None and int(declared) > self._limit:
            return None
        parts: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            part = message.get("body", b"")
            size += len(part)
            if size > self._limit:
                return None
            parts.append(part)
            more = message.get("more_body", False)
        return b"".join(parts)


class _Gone(Exception):
    """The client has left in the middle of its request, so the rest of it is unknown."""


class Replayed:
    """Receives a body that was read already, and then what comes after it."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class Counted:
    """Requests and their seconds, by route: never by path, which anybody may make up."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, clock: Clock, service: str) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = self._clock.monotonic()
        status = None  # until an answer begins

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            if status is not None:
                route = getattr(scope.get("route"), "path_format", "")
                seconds = self._clock.monotonic() - begun
                method = scope["method"] if scope["method"] in _METHODS else "other"
                self._metrics.count_request(self._service, method, route, status, seconds)


def _header(scope: Scope, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None
