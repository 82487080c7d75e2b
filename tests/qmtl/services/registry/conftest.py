"""A real registry: the installed script in a process of its own, on a free port, with a folder of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

QMTL = Path(sys.executable).with_name("qmtl")


class RegistryProcess:
    """`qmtl serve registry`, from its first answer on."""

    def __init__(self, folder: Path, *options: object) -> None:
        self.folder = folder
        self._stderr = folder.with_suffix(".stderr").open("ab+")
        self.process = subprocess.Popen(
            [QMTL, "serve", "registry", "--port", "0", "--store", folder, *map(str, options)],
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            # A test may limit the size of its files, and bytecode would be cut too.
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        address = re.search(r"https?://\S+", line)
        assert address, f"it did not begin: {line!r} {self.reported()}"
        self.url = address[0]

    def reported(self) -> str:
        """What it has written to stderr so far."""
        self._stderr.seek(0)
        return self._stderr.read().decode()

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code after a signal; ending twice is nothing."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self._stderr.close()


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RegistryProcess]]:
    """`serve(*options, folder=None)` starts one more registry; all end with the module."""
    begun: list[RegistryProcess] = []

    def start(*options: object, folder: Path | None = None) -> RegistryProcess:
        begun.append(RegistryProcess(folder or tmp_path_factory.mktemp("served") / "registry", *options))
        return begun[-1]

    yield start
    for one in begun:
        if not one.process.stdout or not one.process.stdout.closed:
            one.end()


@pytest.fixture(scope="module")
def server(serve: Callable[..., RegistryProcess]) -> RegistryProcess:
    return serve()


@pytest.fixture(scope="module")
def http(server: RegistryProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture
def subject() -> str:
    """A subject that no other test uses."""
    return f"test-{os.urandom(6).hex()}"


def record(*fields: Any, name: str = "Bar") -> str:
    """An Avro record whose fields are `"name"` (a long) or a whole field."""
    whole = [{"name": f, "type": "long"} if isinstance(f, str) else f for f in fields]
    return json.dumps({"type": "record", "name": name, "fields": whole})


@pytest.fixture(scope="session")
def avro() -> Callable[..., str]:
    return record
