"""A stretch of network between clients and servers, which a test can cut anywhere, or let stand still."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, TypeAlias

# To the server, or to the client.
Direction: TypeAlias = Literal["up", "down"]
# Asked for each piece that comes, with the end that it comes from: how many of its bytes still arrive before
# both ends are closed; None passes on all.
Passes: TypeAlias = Callable[[Direction, bytes, socket.socket], int | None]


class TcpProxy:
    """Forwards connections to ports of the loopback: each to the next of them that takes it.

    mark: marks the connections on which a client has sent it. passes: may be set at any time.
    """

    def __init__(self, *ports: int, mark: bytes = b"LISTEN") -> None:
        self._first, self._targets, self._mark = ports[0], ports, mark
        self.passes: Passes = lambda direction, piece, source: None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._flows = threading.Event()
        self._flows.set()
        self._marked_only = False
        self._marked: set[int] = set()
        self._open: list[socket.socket] = []
        self._closed = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def url(self, url: str) -> str:
        """The address of a server on the (first) target port, by way of this proxy."""
        return url.replace(f":{self._first}", f":{self.port}")

    def stall(self, *, marked_only: bool = False) -> None:
        """Forward nothing any more, or nothing of the marked connections; nobody hears of it."""
        self._marked_only = marked_only
        self._flows.clear()

    def resume(self) -> None:
        self._flows.set()

    def cut(self) -> None:
        """End all connections there are; new ones are taken."""
        for one in list(self._open):
            _end(one)

    def close(self) -> None:
        """End all connections."""
        self._closed = True
        self.resume()
        for one in (self._listener, *self._open):
            _end(one)
        for thread in self._threads:
            thread.join(30)
        for one in (self._listener, *self._open):
            one.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            number = len(self._open)
            self._open.append(client)
            server = self._connected()
            if server is None:
                _end(client)
                continue
            self._open.append(server)
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            directions: tuple[Direction, Direction] = ("up", "down")
            for direction, ends in zip(directions, ((client, server), (server, client)), strict=True):
                thread = threading.Thread(target=self._forward, args=(number, direction, *ends), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _connected(self) -> socket.socket | None:
        """To the next server that takes it; None if all are down."""
        for _ in self._targets:
            port, *others = self._targets
            self._targets = (*others, port)
            with suppress(OSError):
                return socket.create_connection(("127.0.0.1", port))
        return None

    def _forward(
        self, number: int, direction: Direction, source: socket.socket, target: socket.socket
    ) -> None:
        with suppress(OSError):  # one of the two is gone, and so is the other
            while piece := source.recv(65_536):
                if self._mark in piece:
                    self._marked.add(number)
                while not self._flows.is_set() and (number in self._marked or not self._marked_only):
                    self._flows.wait(0.05)
                arrives = self.passes(direction, piece, source)
                target.sendall(piece if arrives is None else piece[:arrives])
                if arrives is not None:
                    break
        _end(source)
        _end(target)


def _end(one: socket.socket) -> None:
    with suppress(OSError):  # it has ended already
        one.shutdown(socket.SHUT_RDWR)
