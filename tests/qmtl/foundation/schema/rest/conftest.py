"""Real registries for clients: server processes, quickly begun, and the installed script."""

from __future__ import annotations

import multiprocessing
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

QMTL = Path(sys.executable).with_name("qmtl")

# Processes that have loaded the server already, and wait for a folder.
_WARM = multiprocessing.get_context("forkserver")


def _serve(folder: Path, told: Connection) -> None:
    from qmtl.services.registry.serving import serve_registry

    serve_registry(
        folder,
        host="127.0.0.1",
        port=0,
        auth=None,
        tls_cert=None,
        tls_key=None,
        unprotected=False,
        ready=told.send,
    )


class WarmServer:
    """A registry of its own in a process of its own, over a folder that is empty at first."""

    def __init__(self, folder: Path) -> None:
        hears, told = _WARM.Pipe(duplex=False)
        self._process = _WARM.Process(target=_serve, args=(folder, told), daemon=True)
        self._process.start()
        told.close()
        self.url: str = hears.recv()
        hears.close()

    def end(self) -> None:
        self._process.terminate()
        self._process.join(20)
        assert self._process.exitcode == 0
        self._process.close()


@pytest.fixture(scope="session")
def warm_server() -> Callable[[Path], WarmServer]:
    _WARM.set_forkserver_preload(["qmtl.services.registry.app", "qmtl.services.registry.sqlite", "uvicorn"])
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
            [QMTL, "serve", "registry", "--port", self._port, "--store", self.folder, *map(str, self._options)],
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
            self.process.wait(20)
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
