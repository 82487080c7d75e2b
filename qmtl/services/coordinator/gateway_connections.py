"""Requests to the JSON gateway of etcd over connections that stay open: one attempt each, and as little else.

A claim waits for two of them, and a general client takes as long for each as etcd does for half of its work.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

# A connection that nobody used for so long may have been forgotten on its way.
_IDLE_S = 15.0


class NotConnectedError(Exception):
    """Nothing was sent."""


class Answer(NamedTuple):
    status: int
    body: bytes


class GatewayConnections:
    """Used on one event loop. connect_s: how long a new connection may take."""

    def __init__(self, *, connect_s: float) -> None:
        self._connect_s = connect_s
        # By the URL of the member; the one used last is at the end.
        self._idle: dict[str, deque[_Connection]] = defaultdict(deque)

    async def post(self, url: str, path: str, body: bytes) -> Answer:
        """Raises `NotConnectedError`, and ConnectionError where the request may have been done.

        Who stops waiting for an answer closes its connection.
        """
        connection = self._free(url) or await self._new(url)
        try:
            answer = await connection.ask(path, body)
        except BaseException:
            connection.close()
            raise
        if connection.is_open:
            connection.used_at = connection.loop.time()
            self._idle[url].append(connection)
        return answer

    @property
    def open_idle(self) -> int:
        """How many connections wait for a request."""
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
        return None

    async def _new(self, url: str) -> _Connection:
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_s):
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop, parts.netloc),
                    parts.hostname or "",
                    parts.port or (443 if tls else 80),
                    ssl=tls or None,
                )
        except TimeoutError:
            raise NotConnectedError(f"no connection within {self._connect_s:g} s") from None
        except OSError as cause:
            raise NotConnectedError(cause.strerror or str(cause)) from cause
        return connection


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, host: str) -> None:
        self.loop = loop
        self.is_open = True
        self.used_at = 0.0
        self._host = host.encode()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []

    async def ask(self, path: str, body: bytes) -> Answer:
        assert self._transport is not None
        self._answer = self.loop.create_future()
        head = b"POST %s HTTP/1.1\r\nhost: %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(head % (path.encode(), self._host, len(body)) + body)
        return await self._answer

    def close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    # -- called by the transport --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # that of uvloop is no subclass

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"it answered something else than HTTP ({error}): is it etcd?"))
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self._fail(ConnectionError(str(error or "it closed the connection")))

    def _fail(self, error: ConnectionError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    # -- called by the parser -----------------------------------------------------------------------------

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_message_complete(self) -> None:
        answer = Answer(self._parser.get_status_code(), b"".join(self._parts))
        if self._answer is None or self._answer.done() or not self._parser.should_keep_alive():
            self.close()  # or nobody has asked
        self._begin()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)
