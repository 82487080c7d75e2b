"""The way from a store to its server, which can be cut anywhere: a proxy that reads along."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

# Begins to be cut when it is on its way to the server, or answered; see `Wire`.
COMMIT = b"COMMIT\0"


class Wire:
    """Listens on a port of its own, and passes on what comes to the server and back.

    cut: is asked, for each piece that is passed on, with its direction ("up" to the server, or "down"), its
        bytes and the end that they came from. It answers how many of them still arrive before both ends are
        closed; None passes on all.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._server = (parts.hostname, parts.port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = parts._replace(netloc=f"{parts.username}@127.0.0.1:{self.port}").geturl()
        self.cut: Callable[[str, bytes, socket.socket], int | None] = lambda direction, piece, source: None
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def port(self) -> int:
        port: int = self._listening.getsockname()[1]
        return port

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return  # closed
            server = socket.create_connection(self._server)
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for direction, source, target in (("up", client, server), ("down", server, client)):
                threading.Thread(target=self._pass_on, args=(direction, source, target), daemon=True).start()

    def _pass_on(self, direction: str, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):  # the other direction was cut
            while piece := source.recv(65_536):
                arrives = self.cut(direction, piece, source)
                target.sendall(piece if arrives is None else piece[:arrives])
                if arrives is not None:
                    break
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@contextmanager
def wire_to(url: str) -> Iterator[Wire]:
    wire = Wire(url)
    try:
        yield wire
    finally:
        wire.close()
