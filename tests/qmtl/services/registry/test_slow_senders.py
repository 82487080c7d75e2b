"""A body that never comes holds nobody up, and is given up after its time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn

from qmtl.foundation.schema.registry.memory_storage import MemoryStorage
from qmtl.services.registry.app import make_app

Process = Any  # a RegistryProcess of conftest.py
BODY = {"schema": '"long"', "schemaType": "AVRO"}
HEAD = (
    b"POST /subjects/slow/versions HTTP/1.1\r\nHost: x\r\n"
    b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
)


@pytest.fixture
def impatient() -> Iterator[tuple[str, int]]:
    """A registry on a real socket that waits half a second for a body."""
    listening = socket.create_server(("127.0.0.1", 0))
    app = make_app(MemoryStorage(), body_seconds=0.5)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield listening.getsockname()
    server.should_exit = True
    thread.join(60)
    listening.close()
    assert not thread.is_alive()


def test_a_sender_of_a_byte_now_and_then_is_given_up(impatient: tuple[str, int]) -> None:
    began = time.monotonic()
    with socket.create_connection(impatient, timeout=60) as slow:
        slow.sendall(HEAD)
        slow.settimeout(0.1)
        reported = b""
        while not reported and time.monotonic() - began < 60:
            slow.sendall(b" ")
            try:
                reported = slow.recv(65_536)
            except TimeoutError:
                continue
    assert reported.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in reported.lower()
    assert time.monotonic() - began >= 0.5


def test_others_are_served_while_many_bodies_do_not_come(server: Process) -> None:
    address = urlsplit(server.url)
    with ExitStack() as open_:
        for _ in range(200):
            slow = open_.enter_context(socket.create_connection((address.hostname, address.port), timeout=60))
            slow.sendall(HEAD)
        answer = httpx.post(f"{server.url}/subjects/quick/versions", json=BODY, timeout=60)
        assert answer.status_code == 200
        assert httpx.get(f"{server.url}/readyz", timeout=60).status_code == 200
    assert "slow" not in httpx.get(f"{server.url}/subjects", timeout=60).json()


@pytest.mark.parametrize("host", ["evil.example", "a b", "[", "x" * 5_000, "http://other/", ""])
def test_a_strange_host_is_not_repeated(server: Process, host: str) -> None:
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as plain:
        plain.sendall(f"GET /docs HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        reported = b"".join(iter(lambda: plain.recv(65_536), b""))
    assert reported[:12] in (b"HTTP/1.1 200", b"HTTP/1.1 400")
    assert len(host) < 5 or host.encode() not in reported
    assert httpx.get(f"{server.url}/healthz", timeout=60).status_code == 200
