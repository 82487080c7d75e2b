"""Servers for clients: real registries in processes of their own, and one that answers by a script."""

from __future__ import annotations

import json
import multiprocessing
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self, TypeAlias

import pytest

QMTL = Path(sys.executable).with_name("qmtl")

# Processes that have loaded the server already, and wait for a folder.
_WARM = multiprocessing.get_context("forkserver")


def _serve(folder: Path, reported: Connection) -> None:
    from qmtl.services.registry.serving import serve_registry

    serve_registry(
        folder,
        host="127.0.0.1",
        port=0,
        auth=None,
        tls_cert=None,
        tls_key=None,
        unprotected=False,
        ready=reported.send,
    )


class WarmServer:
    """A registry of its own in a process of its own, over a folder that is empty at first."""

    def __init__(self, folder: Path) -> None:
        hears, reported = _WARM.Pipe(duplex=False)
        self._process = _WARM.Process(target=_serve, args=(folder, reported), daemon=True)
        self._process.start()
        reported.close()
        self.url: str = hears.recv()
        hears.close()

    def end(self) -> None:
        self._process.terminate()
        self._process.join(60)
        assert self._process.exitcode == 0
        self._process.close()


@pytest.fixture(scope="session")
def warm_server() -> Callable[[Path], WarmServer]:
    _WARM.set_forkserver_preload(
        [
            "pytest",
            "qmtl.services.registry.app",
            "qmtl.services.registry.serving",
            "qmtl.services.registry.sqlite",
        ]
    )
    return WarmServer


class ServerProcess:
    """The installed script in a process, on one port and one folder, however often it is begun."""

    def __init__(self, folder: Path, *options: object) -> None:
        self.folder = folder
        self._options = options
        self._port = "0"
        self.begin()

    def begin(self) -> None:
        self.process = subprocess.Popen(
            [
                QMTL,
                "serve",
                "registry",
                "--port",
                self._port,
                "--store",
                self.folder,
                *map(str, self._options),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"(https?://\S+):(\d+)", line)
        assert found, line
        self.url, self._port = found[0], found[2]

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self.process.stdout is not None
        if not self.process.stdout.closed:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process.stdout.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """`serve(*options)` begins one; all end with the test."""
    begun: list[ServerProcess] = []

    def begin(*options: object) -> ServerProcess:
        begun.append(ServerProcess(tmp_path / f"registry-{len(begun)}", *options))
        return begun[-1]

    yield begin
    for one in begun:
        one.process.send_signal(signal.SIGCONT)
        one.end()


# Bytes to send; or "reset": the connection is torn down, "hang": nothing more comes, "drip": one byte comes
# after the other, without an end.
Part: TypeAlias = bytes | str


def _http(status: int, body: Any, *, kind: str = "application/vnd.schemaregistry.v1+json") -> bytes:
    """A whole answer; a body that is no bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} Whatever\r\ncontent-type: {kind}\r\ncontent-length: {len(content)}\r\n"
    return head.encode() + b"connection: close\r\n\r\n" + content


class ScriptedServer:
    """Answers as no honest server would: a connection gets the next part of the script.

    Its last part is for all connections from then on.
    """

    def __init__(self, *script: Part) -> None:
        self._script = list(script)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.requests: list[str] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with ExitStack() as taken_ones:
            while not self._ended.is_set():
                try:
                    taken = taken_ones.enter_context(self._listening.accept()[0])
                except OSError:  # closed by `__exit__`
                    break
                taken.settimeout(60)
                asked = _request(taken)
                if not asked:
                    continue
                self.requests.append(asked)
                part = self._script.pop(0) if len(self._script) > 1 else self._script[0]
                with suppress(OSError):  # the client has given up
                    self._answer(taken, part)

    def _answer(self, taken: socket.socket, part: Part) -> None:
        if part == "reset":
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            taken.close()
        elif part == "drip":
            taken.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
            while not self._ended.wait(0.02):
                taken.sendall(b" ")
        elif isinstance(part, bytes):
            taken.sendall(part)
            taken.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(60)


def _request(taken: socket.socket) -> str:
    """Head and body of a request."""
    reported = b""
    while b"\r\n\r\n" not in reported:
        more = taken.recv(65_536)
        if not more:
            return ""
        reported += more
    head, _, body = reported.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    wanted = int(lengths[0].split(b":")[1]) if lengths else 0
    while len(body) < wanted:
        body += taken.recv(65_536)
    return (head + b"\r\n\r\n" + body).decode("latin-1")


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedServer]]:
    """`scripted(*parts)` begins one."""
    with ExitStack() as begun:
        yield lambda *parts: begun.enter_context(ScriptedServer(*parts))


@pytest.fixture(scope="session")
def http() -> Callable[..., bytes]:
    """`http(status, body, kind=...)` is a whole answer."""
    return _http
