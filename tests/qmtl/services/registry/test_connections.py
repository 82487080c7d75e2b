"""Connections without a request hold nobody up: a thousand of them, slow or endless heads, slow readers."""

from __future__ import annotations

import select
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn

from qmtl.foundation.schema.registry.memory_storage import MemoryStorage
from qmtl.services.http.connections import LIMITS, BoundedConnection, Limits
from qmtl.services.registry.app import make_app

Process = Any  # a RegistryProcess of conftest.py
QMTL = Path(sys.executable).with_name("qmtl")
Address = tuple[str, int]
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def served(limits: Limits, app: Any = None) -> Iterator[Address]:
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app or make_app(MemoryStorage()),
        http=partial(BoundedConnection, limits=limits),  # type: ignore[arg-type]  # it is only called
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield listening.getsockname()
    finally:
        server.should_exit = True
        thread.join(60)
        listening.close()
        assert not thread.is_alive()


@pytest.fixture
def connect() -> Iterator[Callable[[Address], socket.socket]]:
    with ExitStack() as stack:
        yield lambda address: stack.enter_context(socket.create_connection(address, timeout=60))


@pytest.fixture(scope="module")
def impatient() -> Iterator[Address]:
    with served(Limits(wait_s=0.3, head_bytes=2_000)) as address:
        yield address


@pytest.fixture(scope="module")
def patient() -> Iterator[Address]:
    """So that a client is in time also on a machine that is busy."""
    with served(Limits(wait_s=2.0, head_bytes=2_000)) as address:
        yield address


def rest(of: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    reported = b""
    try:
        while part := of.recv(65_536):
            reported += part
    except ConnectionResetError:
        pass
    return reported


def test_a_thousand_slow_heads_do_not_stop_a_client(server: Process, connect: Any) -> None:
    address = urlsplit(server.url)
    slow = []
    for _ in range(1_000):
        slow.append(connect((address.hostname, address.port)))
        slow[-1].sendall(b"GET /subjects HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for number in range(20):
            subject = f"/subjects/beside-the-slow-{number}/versions"
            assert client.post(subject, json={"schema": '"long"'}).status_code == 200
            assert client.get(subject).json() == [1]
    waiting = select.poll()
    for one in slow:
        waiting.register(one, select.POLLIN)
    assert len(waiting.poll(0)) >= 1_000 - LIMITS.connections, "who waited longest made room"


def test_connections_leave_files_for_the_rest(tmp_path: Path, connect: Any) -> None:
    words = [str(QMTL), "serve", "registry", "--port", "0", "--store", str(tmp_path / "registry")]
    command = ["sh", "-c", f"ulimit -n 150 && exec {shlex.join(words)}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            address = urlsplit(url)
            for _ in range(300):
                connect((address.hostname, address.port)).sendall(b"GET /")
            answer = httpx.post(f"{url}/subjects/s/versions", json={"schema": '"long"'}, timeout=60)
            assert answer.status_code == 200
            process.terminate()
            assert process.communicate(timeout=60) == ("", "")
            assert process.returncode == 0
        finally:
            process.kill()


def test_who_says_nothing_is_closed(impatient: Address, connect: Any) -> None:
    assert rest(connect(impatient)) == b""


def test_who_says_nothing_more_is_closed(patient: Address, connect: Any) -> None:
    client = connect(patient)
    client.sendall(GET)
    reported = rest(client)
    assert reported.startswith(b"HTTP/1.1 200 OK\r\n")
    assert reported.endswith(b'{"status":"ok"}')


@pytest.mark.parametrize("before", [b"", GET])
def test_a_head_a_byte_at_a_time_is_given_up(patient: Address, connect: Any, before: bytes) -> None:
    client = connect(patient)
    client.sendall(before)
    client.settimeout(0.05)
    reported, began = b"", time.monotonic()
    for byte in chain(b"GET / HTTP/1.1\r\nX: ", repeat(120)):
        if b"408" in reported or time.monotonic() - began > 60:
            break
        client.sendall(bytes([byte]))
        try:
            reported += client.recv(65_536)
        except TimeoutError:
            continue
    assert b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n" in reported
    assert time.monotonic() - began > 1.9  # a timer may be early by the grain of the clock


@pytest.mark.parametrize("part", [b"GET /%b", b"GET / HTTP/1.1\r\nX: %b", b"GET / HTTP/1.1\r\n%b"])
def test_a_head_without_an_end_is_refused(patient: Address, connect: Any, part: bytes) -> None:
    client = connect(patient)
    with suppress(ConnectionError):
        client.sendall(part % (b"A: b\r\n" * 1_000 if part.endswith(b"\n%b") else b"a" * 6_000))
    assert rest(client).startswith(b"HTTP/1.1 431 ")


def test_a_body_is_no_head(patient: Address) -> None:
    body = {"schema": '"long"', "metadata": None, "filler": "x" * 100_000}
    answer = httpx.post(f"http://{patient[0]}:{patient[1]}/subjects/long/versions", json=body, timeout=60)
    assert "431" not in answer.text
    assert answer.status_code in (200, 422)


@pytest.mark.parametrize("to", [b"websocket", b"h2c"])
def test_a_wish_for_another_protocol_is_passed_over(
    patient: Address, connect: Any, caplog: pytest.LogCaptureFixture, to: bytes
) -> None:
    client = connect(patient)
    client.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade, close\r\nUpgrade: %b\r\n\r\n" % to))
    assert rest(client).startswith(b"HTTP/1.1 200 OK\r\n")
    assert caplog.text == ""


def test_requests_in_a_row_and_all_at_once_are_answered(patient: Address, connect: Any) -> None:
    client = connect(patient)
    client.sendall(GET * 50)
    assert rest(client).count(b'{"status":"ok"}') == 50


def test_where_all_are_busy_the_newest_is_closed_and_none_that_is_answered(connect: Any) -> None:
    entered, may_end = threading.Semaphore(0), threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        import anyio

        if scope["type"] == "http":
            entered.release()
            await anyio.to_thread.run_sync(may_end.wait)
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    with served(Limits(connections=3), app) as address:
        busy = [connect(address) for _ in range(3)]
        for one in busy:
            one.sendall(GET)
            assert entered.acquire(timeout=60)
        assert rest(connect(address)) == b""
        may_end.set()
        assert all(one.recv(100).startswith(b"HTTP/1.1 204") for one in busy)


def test_who_does_not_take_the_answer_is_given_up(connect: Any) -> None:
    gone = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while (await _next(receive))["type"] != "http.disconnect":
                await send({"type": "http.response.body", "body": b"x" * 2**20, "more_body": True})
            gone.set()

    async def _next(receive: Any) -> Any:
        import anyio

        with anyio.move_on_after(0):
            return await receive()
        return {"type": "nothing"}

    with served(Limits(exchange_s=0.3), app) as address:
        connect(address).sendall(GET)
        assert gone.wait(60)
