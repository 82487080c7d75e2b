"""Limits of one connection: how many there may be, and time and bytes for the head of each request."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Limits(NamedTuple):
    """What connections may take of a server.

    connections: so many at once; the soft limit of open files is often 1,024. wait_s: seconds without a
    request, and again from the first byte of its head to the last. head_bytes: of request line and headers,
    give or take what comes at once. exchange_s: from the head of a request to the last byte of its answer.
    """

    connections: int = 512
    wait_s: float = 10.0
    head_bytes: int = 64 * 1024
    exchange_s: float = 300.0


LIMITS = Limits()


class BoundedConnection(HttpToolsProtocol):
    """Closes a connection that sends no request, for which the parser alone would wait for ever."""

    def __init__(self, *, limits: Limits, **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self._timer: asyncio.TimerHandle | None = None
        self._exchange_ends = 0.0
        self._head_bytes = 0
        self._in_body = False
        self.waits_since: float | None = None  # the time of the loop; None while a request is answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin_wait()
        if len(self.connections) > self._limits.connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._in_body:
            if self._head_bytes == 0 and self.waits_since is not None:
                self._begin_wait()
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > self._limits.head_bytes and not self.transport.is_closing():
            self._refuse(b"431 Request Header Fields Too Large")

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        self._in_body = True
        super().on_headers_complete()
        self._begin_exchange()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_body = False

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:
            self._begin_wait()
        else:
            self._begin_exchange()  # of the next request, which came before this answer had gone

    def _unsupported_upgrade_warning(self) -> None:
        """An upgrade to another protocol is ignored (RFC 9110); uvicorn would log advice about it."""

    def _begin_wait(self) -> None:
        self.waits_since = self.loop.time()
        self._stop_timer()
        self._timer = self.loop.call_later(self._limits.wait_s, self._waited)

    def _begin_exchange(self) -> None:
        self.waits_since = None
        self._exchange_ends = self.loop.time() + self._limits.exchange_s
        self._stop_timer()
        self._timer = self.loop.call_at(self._exchange_ends, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _waited(self) -> None:
        if self.transport.get_write_buffer_size():  # the client still takes its answer
            if self.loop.time() < self._exchange_ends:
                self._begin_wait()
            else:
                self.transport.abort()
        elif self._head_bytes:
            self._refuse(b"408 Request Timeout")
        else:
            self.transport.close()

    def _refuse(self, status: bytes) -> None:
        self.transport.write(b"HTTP/1.1 %s\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % status)
        self.transport.close()

    def _make_room(self) -> None:
        """Close the connection that has waited longest for a request.

        Where all others are being answered, that is the newest one itself.
        """
        waiting = [one for one in self.connections if isinstance(one, BoundedConnection)]
        longest = min(waiting, key=lambda one: one.waits_since or float("inf"))
        self.connections.discard(longest)  # its end is reported later
        longest.transport.abort()
