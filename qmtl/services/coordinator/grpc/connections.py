"""Calls of gRPC over connections that stay open: one attempt each, and as little else.

A claim waits for two of them, and a general client takes as long for each as etcd does.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict, deque
from typing import cast
from urllib.parse import SplitResult, urlsplit

from qmtl.services.coordinator.grpc.http2 import (
    Answer,
    ClientConnection,
    GivenUpError,
    NotHTTP2Error,
    request_headers,
)

# A connection that nobody used for so long may have been forgotten on its way.
_IDLE_S = 15.0
# As TLS names it (RFC 7301).
_HTTP2 = "h2"


class NotConnectedError(Exception):
    """Nothing was asked."""


class Connections:
    """Used on one event loop. connect_s: how long a new connection may take."""

    def __init__(self, *, connect_s: float) -> None:
        self._connect_s = connect_s
        # By the URL of the server; the one used last is at the end.
        self._idle: dict[str, deque[_Connection]] = defaultdict(deque)

    async def call(self, url: str, method: str, message: bytes) -> Answer:
        """Raises `NotConnectedError`, and ConnectionError where the call may have been done.

        method: `/package.Service/Method`. Who stops waiting for an answer closes its connection.
        """
        connection = self._free(url) or await self._new(url)
        try:
            answer = await connection.ask(method, message)
        except BaseException:
            connection.close()
            raise
        if connection.is_open:
            connection.used_at = connection.loop.time()
            self._idle[url].append(connection)
        return answer

    @property
    def open_idle(self) -> int:
        """How many connections wait for a call."""
        return sum(one.is_open for idle in self._idle.values() for one in idle)

    def close(self) -> None:
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()

    def _free(self, url: str) -> _Connection | None:
        idle = self._idle[url]
        while idle and (not idle[0].is_open or idle[0].loop.time() - idle[0].used_at > _IDLE_S):
            idle.popleft().close()
        while idle:
            connection = idle.pop()
            if connection.is_open:
                return connection
            connection.close()
        return None

    async def _new(self, url: str) -> _Connection:
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_s):
                transport, connection = await loop.create_connection(
                    lambda: _Connection(loop, parts),
                    parts.hostname or "",
                    parts.port or (443 if tls else 80),
                    ssl=_trusted() if tls else None,
                )
        except TimeoutError:
            raise NotConnectedError(f"no connection within {self._connect_s:g} s") from None
        except OSError as cause:
            raise NotConnectedError(cause.strerror or str(cause)) from cause
        if tls and transport.get_extra_info("ssl_object").selected_alpn_protocol() != _HTTP2:
            connection.close()
            raise NotConnectedError("it does not offer HTTP/2 over TLS: is it etcd?")
        return connection


def _trusted() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols([_HTTP2])
    return context


class _Connection(asyncio.Protocol):
    """One call at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, url: SplitResult) -> None:
        self.loop = loop
        self.is_open = True
        self.used_at = 0.0
        self._url = url
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._http = ClientConnection()

    async def ask(self, method: str, message: bytes) -> Answer:
        self._answer = self.loop.create_future()
        self._http.ask(request_headers(self._url.scheme, self._url.netloc, method), message)
        self._send()
        return await self._answer

    def close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def _send(self) -> None:
        assert self._transport is not None
        out = self._http.taken()
        if out:
            self._transport.write(out)

    # -- called by the transport --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # that of uvloop is no subclass

    def data_received(self, data: bytes) -> None:
        try:
            answer = self._http.receive(data)
        except GivenUpError as error:
            self._fail(ConnectionError(str(error)))
            self.close()
            return
        except NotHTTP2Error as error:
            self._fail(ConnectionError(f"it does not speak gRPC ({error}): is it etcd?"))
            self.close()
            return
        self._send()
        if not self._http.takes_more:
            self.is_open = False
        if answer is not None and self._answer is not None and not self._answer.done():
            if not self.is_open:
                self.close()
            self._answer.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self._fail(ConnectionError(str(error or "it closed the connection")))

    def _fail(self, error: ConnectionError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
