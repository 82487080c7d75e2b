"""A stretch of network between clients and servers, which a test can cut anywhere, or let stand still."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Literal, TypeAlias

# To the server, or to the client.
Direction: TypeAlias = Literal["up", "down"]
# Asked for each piece that comes, with the end that it comes from: how many of its bytes still arrive before
# both ends are closed; None passes on all.
Passes: TypeAlias = Callable[[Direction, bytes, socket.socket], int | None]


class CutOnce:
    """`passes` of a proxy that ends both ends once so many bytes have passed, in either direction.

    Each direction of each connection asks it in a thread of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.passed = 0
        self._after: int | None = None

    def arm(self, after: int) -> None:
        """Count anew, and cut after so many."""
        with self._lock:
            self.passed, self._after = 0, after

    def disarm(self) -> None:
        """Count anew, and cut nothing."""
        with self._lock:
            self.passed, self._after = 0, None

    def __call__(self, direction: Direction, piece: bytes, source: socket.socket) -> int | None:
        with self._lock:
            self.passed += len(piece)
            if self._after is None or self.passed < self._after:
                return None
            arrives = len(piece) - (self.passed - self._after)
            self._after = None
            return arrives


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
        # Of each connection its ends; and those that have ended in one direction.
        self._open: dict[int, list[socket.socket]] = {}
        self._ended: set[int] = set()
        self._lock = threading.Lock()
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
        with self._lock:
            for ends in self._open.values():
                _end(*ends)

    def close(self) -> None:
        """End all connections."""
        self._closed = True
        self.resume()
        _end(self._listener)
        self._threads[0].join(60)
        self.cut()
        for thread in self._threads:
            thread.join(60)
        self._listener.close()

    def _accept(self) -> None:
        for number in count():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            server = self._connected()
            if server is None or self._closed:
                client.close()
                continue
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open[number] = [client, server]
            self._threads = [thread for thread in self._threads if thread.is_alive()]
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
        with self._lock:
            _end(source, target)
            if number in self._ended:  # the other direction as well
                self._ended.remove(number)
                for one in self._open.pop(number):
                    one.close()
            else:
                self._ended.add(number)


def _end(*ends: socket.socket) -> None:
    for one in ends:
        with suppress(OSError):  # it has ended already
            one.shutdown(socket.SHUT_RDWR)
