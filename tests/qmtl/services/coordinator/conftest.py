"""A real coordinator before a real etcd: the installed script in a process of its own, on a free port."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from qmtl.runtime.coordination import coordinator_http
from qmtl.services.coordinator.etcd import PREFIX
from tests.qmtl.etcd import EtcdCluster
from tests.qmtl.served_process import ServedProcess
from tests.qmtl.services.coordinator.memory_coordinator import Coordinator
from tests.qmtl.services.coordinator.memory_keys import MemoryKeys


class CoordinatorProcess(ServedProcess):
    """`qmtl serve coordinator`, from its first answer on."""

    def __init__(self, log: Path, etcd: str, *options: object) -> None:
        super().__init__(log, "-v", "serve", "coordinator", "--port", "0", "--etcd", etcd, *options)


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., CoordinatorProcess]]:
    """`serve(etcd, *options)` starts one more coordinator; all end with the module."""
    begun: list[CoordinatorProcess] = []

    def start(etcd: EtcdCluster, *options: object) -> CoordinatorProcess:
        log = tmp_path_factory.mktemp("coordinator") / "log"
        begun.append(CoordinatorProcess(log, ",".join(etcd.urls), *options))
        return begun[-1]

    yield start
    for one in begun:
        if one.process.stdout and not one.process.stdout.closed:
            one.end()


@pytest.fixture(scope="module")
def server(serve: Callable[..., CoordinatorProcess], etcd: EtcdCluster) -> CoordinatorProcess:
    forget_all(etcd)
    return serve(etcd)


@pytest.fixture(scope="module")
def http(server: CoordinatorProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of workers in this process: a machine that is busy is not one without a coordinator."""
    monkeypatch.setattr(coordinator_http, "ANSWER_S", 60.0)
    monkeypatch.setattr(coordinator_http, "_CONNECT_S", 60.0)


@pytest.fixture
def worker() -> str:
    """A worker, or a claim, that no other test uses."""
    return f"worker-{os.urandom(6).hex()}"


def forget_all(etcd: EtcdCluster) -> None:
    """As if no coordinator had ever been there."""
    ends = PREFIX.encode(), PREFIX[:-1].encode() + bytes([PREFIX.encode()[-1] + 1])
    key, behind = (b64encode(end).decode() for end in ends)
    httpx.post(
        f"{etcd.urls[0]}/v3/kv/deleterange", json={"key": key, "range_end": behind}, timeout=60
    ).raise_for_status()


@pytest.fixture
def keys() -> MemoryKeys:
    return MemoryKeys()


@pytest.fixture
def coordinator(keys: MemoryKeys) -> Coordinator:
    return Coordinator(keys)
