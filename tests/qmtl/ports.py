"""Ports for servers that tests start."""

from __future__ import annotations

import secrets
import socket

# Below those that the system gives to outgoing connections: one of these may take a free port before its
# server does, and keep it as long as it lives.
_FIRST, _COUNT = 10_000, 22_000


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    while True:
        port = _FIRST + secrets.randbelow(_COUNT)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue  # it is in use
            return port
