"""A registry that goes away: what is known is still read, and never taken for what was checked."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qmtl.foundation.errors import RegistryUnavailableError, SchemaRegistryError
from qmtl.foundation.schema.documents import Schema
from qmtl.foundation.schema.registry.client import SchemaRegistryClient
from qmtl.foundation.schema.registry.remote import RemoteSchemaRegistryClient
from qmtl.foundation.settings import Settings
from qmtl.runtime.testing.clock import FakeClock


def bar(*names: str) -> str:
    fields = [{"name": name, "type": "double", "default": 0.0} for name in names]
    return json.dumps({"type": "record", "name": "Bar", "fields": fields}, separators=(",", ":"))


@pytest.fixture
def server(serve: Callable[..., Any]) -> Any:
    return serve()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def registry(server: Any, clock: FakeClock) -> Iterator[RemoteSchemaRegistryClient]:
    client = RemoteSchemaRegistryClient(server.url, clock=clock, timeout_s=60)
    yield client
    client.close()


@pytest.fixture
def other(server: Any) -> Iterator[RemoteSchemaRegistryClient]:
    """Somebody else, who knows nothing of what the first client remembers."""
    client = RemoteSchemaRegistryClient(server.url, latest_s=0, timeout_s=60)
    yield client
    client.close()


def test_what_is_known_is_read_while_the_registry_is_dead(
    server: Any, registry: RemoteSchemaRegistryClient, clock: FakeClock
) -> None:
    first = registry.register("a", bar("open"))
    second = registry.register("a", bar("open", "close"))
    assert registry.version("a", "latest") == second
    assert registry.version("a", 1) == registry.lookup("a", bar("open")) == first
    server.end(signal.SIGKILL)
    assert registry.version("a", "latest") == second, "within its life it is not asked for"
    clock.advance(5)
    stale = registry.version("a", "latest")
    assert stale == second._replace(is_stale=True)
    assert registry.version("a", 1).is_stale
    assert registry.lookup("a", bar("open")) == first._replace(is_stale=True)
    assert registry.by_id(1) == first.schema
    for ask in (
        lambda: registry.check("a", bar("open")),
        lambda: registry.register("a", bar("open")),
        lambda: registry.by_id(3),
        lambda: registry.version("a", 2),
        lambda: registry.version("b", "latest"),
        lambda: registry.versions("a"),
    ):
        with pytest.raises(RegistryUnavailableError) as error:
            ask()
        assert error.value.url == server.url
    # What failed has not made it forget.
    assert registry.version("a", "latest") == stale
    server.begin()
    clock.advance(4.9)
    assert registry.version("a", "latest").is_stale, "it is not asked for at every read"
    clock.advance(0.2)
    assert registry.version("a", "latest") == second
    assert registry.version("a", 1) == first
    assert all(one.verdict.is_compatible for one in registry.check("a", bar("open")))


def test_a_registry_that_hangs_is_waited_for_once_in_a_life(server: Any, clock: FakeClock) -> None:
    registry = RemoteSchemaRegistryClient(server.url, clock=clock, timeout_s=60)
    done = registry.register("a", bar("open"))
    registry.version("a", "latest")
    clock.advance(5)
    server.process.send_signal(signal.SIGSTOP)
    registry._connection._timeout_s = 1.5  # only now: a busy server may take longer for an answer
    began = time.monotonic()
    for _ in range(200):
        assert registry.version("a", "latest") == done._replace(is_stale=True)
    assert time.monotonic() - began < 60, "200 readers would have waited for five minutes"
    registry._connection._timeout_s = 60
    server.process.send_signal(signal.SIGCONT)
    clock.advance(5)
    assert not registry.version("a", "latest").is_stale
    registry.close()


def test_a_deletion_and_a_newer_version_are_seen_within_a_life(
    registry: RemoteSchemaRegistryClient, other: RemoteSchemaRegistryClient, clock: FakeClock
) -> None:
    first = registry.register("a", bar("open"))
    assert registry.version("a", "latest") == registry.version("a", 1) == first
    second = other.register("a", bar("open", "close"))
    other.delete_version("a", 1)
    assert registry.version("a", "latest") == registry.version("a", 1) == first
    clock.advance(5)
    assert registry.version("a", "latest") == second
    with pytest.raises(SchemaRegistryError) as error:
        registry.version("a", 1)
    assert error.value.code == 40402
    assert registry.version("a", 1, deleted=True) == first


def test_its_own_changes_are_seen_at_once(registry: RemoteSchemaRegistryClient) -> None:
    registry.register("a", bar("open"))
    assert registry.version("a", "latest").version == 1
    registry.register("a", bar("open", "close"))
    assert registry.version("a", "latest").version == 2
    registry.delete_version("a", 2)
    assert registry.version("a", "latest").version == 1
    with pytest.raises(SchemaRegistryError):
        registry.lookup("a", bar("open", "close"))


def test_a_restart_in_the_middle_is_not_noticed_by_readers(
    server: Any, other: RemoteSchemaRegistryClient
) -> None:
    done = other.register("a", bar("open"))
    for _ in range(2):
        server.end(signal.SIGKILL)
        server.begin()
        # The connection that was kept alive is dead.
        assert other.version("a", 1) == done
    server.end()
    server.begin()
    assert other.register("b", bar("open")).id == done.id


def test_no_registration_is_lost_or_doubled_by_kills(server: Any, other: RemoteSchemaRegistryClient) -> None:
    other.set_level("NONE")
    reported: list[int] = []
    failed: list[str] = []
    ended = threading.Event()

    def register() -> None:
        number = 0
        while not ended.is_set():
            text = bar(f"f{number}")
            try:
                reported.append(other.register("a", text).version)
            except RegistryUnavailableError:
                failed.append(text)
            number += 1

    thread = threading.Thread(target=register)
    thread.start()
    for _ in range(4):
        before = len(reported)
        while len(reported) < before + 5 and thread.is_alive():
            time.sleep(0.01)
        server.end(signal.SIGKILL)
        server.begin()
    ended.set()
    thread.join(120)
    assert not thread.is_alive()
    there = other.versions("a")
    assert there == tuple(range(1, len(there) + 1))
    assert set(reported) <= set(there)
    assert len(set(reported)) == len(reported) >= 20
    # What is there and was not told is what failed without an answer.
    assert len(there) - len(reported) <= len(failed)


def test_threads_share_one_client(registry: RemoteSchemaRegistryClient) -> None:
    registry.set_level("NONE")
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(10):
                done = registry.register(f"s{number % 3}", bar(f"f{number}", f"g{step}"))
                assert registry.by_id(done.id) == done.schema
                assert registry.version(done.subject, done.version) == done
                assert registry.version(done.subject, "latest").version >= done.version
        except BaseException as failure:  # noqa: BLE001  # handed to the thread that judges
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not failures, failures
    assert sum(len(registry.versions(subject)) for subject in registry.subjects()) == 60


def _in_a_child(registry: RemoteSchemaRegistryClient, reported: Any) -> None:
    reported.send([registry.versions("a"), registry.version("a", 1), os.getpid()])
    registry.close()


def test_a_forked_process_has_a_connection_of_its_own(registry: RemoteSchemaRegistryClient) -> None:
    done = registry.register("a", bar("open"))
    fork = multiprocessing.get_context("fork")
    for _ in range(3):
        hears, tells = fork.Pipe(duplex=False)
        child = fork.Process(target=_in_a_child, args=(registry, tells))
        child.start()
        assert registry.versions("a") == (1,)
        assert hears.poll(120)
        assert hears.recv() == [(1,), done, child.pid]
        child.join(120)
        assert child.exitcode == 0
        hears.close()
        tells.close()
    assert registry.versions("a") == (1,)


def test_a_closed_client_opens_again(registry: RemoteSchemaRegistryClient) -> None:
    registry.register("a", bar("open"))
    registry.close()
    registry.close()
    assert registry.versions("a") == (1,)


def test_settings_choose_where_the_registry_is(server: Any, tmp_path: Path) -> None:
    settings = Settings.load(env={"QMTL_SCHEMA_REGISTRY_URL": server.url})
    registry = SchemaRegistryClient.from_settings(settings)
    assert isinstance(registry, RemoteSchemaRegistryClient)
    assert registry.register("a", Schema('"int"')).version == 1
    registry.close()
    assert isinstance(SchemaRegistryClient.from_settings(Settings.load(env={})), SchemaRegistryClient)
