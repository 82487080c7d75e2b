"""A real registry: the installed script in a process of its own, on a free port, with a folder of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.qmtl.served_process import ServedProcess


class RegistryProcess(ServedProcess):
    """`qmtl serve registry`, from its first answer on."""

    def __init__(self, folder: Path, *options: object) -> None:
        self.folder = folder
        command = ("serve", "registry", "--port", "0", "--store", folder)
        super().__init__(folder.with_suffix(".stderr"), *command, *options)


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
    with httpx.Client(base_url=server.url, timeout=60) as client:
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
