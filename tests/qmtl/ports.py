"""Ports for servers that tests start, and whether one answers there."""

from __future__ import annotations

import os
import secrets
import socket
from http.client import HTTPConnection

# Below those that the system gives to outgoing connections: one of these may take a free port before its
# server does, and keep it as long as it lives.
_FIRST, _COUNT = 10_000, 22_000
# Of several processes of pytest each has ports of its own: every second one, of two.
_PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_NUMBER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))

_given: set[int] = set()


def free_port() -> int:
    """A port of the loopback that nobody listens on now, and that nobody else here was given."""
    while True:
        port = _FIRST + secrets.randbelow(_COUNT // _PROCESSES) * _PROCESSES + _NUMBER
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue  # it is in use
            _given.add(port)
            return port


def answers(port: int, path: str = "/") -> bool:
    """Whether a server of HTTP answers on the loopback, and has no trouble of its own."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 500
    except OSError:
        return False
    finally:
        connection.close()
