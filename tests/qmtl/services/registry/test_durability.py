"""Writers at once, processes that are killed, a full disk: what was answered is kept, and nothing half."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

Process = Any  # a RegistryProcess of conftest.py


def schema(number: int) -> str:
    return json.dumps({"type": "enum", "name": f"E{number}", "symbols": ["A"]})


def register(http: httpx.Client, subject: str, text: str) -> httpx.Response:
    return http.post(f"/subjects/{subject}/versions", json={"schema": text})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "registry"


@pytest.fixture
def anything_goes(server: Process) -> Iterator[httpx.Client]:
    """The server, with the level NONE: every schema may follow every other."""
    with httpx.Client(base_url=server.url, timeout=60) as http:
        http.put("/config", json={"compatibility": "NONE"})
        yield http
        http.put("/config", json={"compatibility": "BACKWARD"})


# At once


def at_once(url: str, calls: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """All registrations, by threads that start together; what each was answered."""
    start = threading.Barrier(8)

    def some(part: int) -> list[dict[str, Any]]:
        with httpx.Client(base_url=url, timeout=60) as http:
            start.wait()
            answers = [register(http, *call) for call in calls[part::8]]
        assert all(answer.status_code == 200 for answer in answers), [answer.text for answer in answers]
        return [answer.json() for answer in answers]

    with ThreadPoolExecutor(8) as pool:
        return [answer for part in pool.map(some, range(8)) for answer in part]


def test_the_same_schema_at_once_gets_one_id(
    server: Process, anything_goes: httpx.Client, subject: str
) -> None:
    for round in range(10):
        calls = [(f"{subject}-{round}", schema(round)), (f"{subject}-{round}-other", schema(round))] * 8
        assert len({answer["id"] for answer in at_once(server.url, calls)}) == 1
        for place, _ in calls[:2]:
            assert anything_goes.get(f"/subjects/{place}/versions").json() == [1]


def test_different_schemas_at_once_get_versions_without_a_gap(
    server: Process, anything_goes: httpx.Client, subject: str
) -> None:
    answers = at_once(server.url, [(subject, schema(number)) for number in range(64)])
    assert sorted(answer["version"] for answer in answers) == list(range(1, 65))
    assert len({answer["id"] for answer in answers}) == 64
    assert anything_goes.get(f"/subjects/{subject}/versions").json() == list(range(1, 65))


def test_two_servers_on_one_folder_are_one_registry(
    serve: Callable[..., Process], folder: Path, subject: str
) -> None:
    one, two = serve(folder=folder), serve(folder=folder)
    with httpx.Client(base_url=one.url, timeout=60) as http:
        http.put("/config", json={"compatibility": "NONE"})
    calls = [(subject, schema(number)) for number in range(64)]
    with ThreadPoolExecutor(2) as pool:
        reported = pool.map(lambda server: at_once(server.url, calls), (one, two))
    by_id = [{answer["id"]: answer["version"] for answer in answers} for answers in reported]
    assert by_id[0] == by_id[1], "the same schema is the same version, whichever server was asked"
    assert sorted(by_id[0]) == sorted(by_id[0].values()) == list(range(1, 65))
    with httpx.Client(base_url=two.url, timeout=60) as http:
        assert http.get(f"/subjects/{subject}/versions").json() == list(range(1, 65))
        last = http.get(f"/subjects/{subject}/versions/64").json()
        assert http.get(f"/schemas/ids/{last['id']}").json() == {"schema": last["schema"]}


# Killed


def whole(http: httpx.Client, subject: str) -> list[str]:
    """The schemas of a subject by version; every part of the registry must tell the same of them."""
    versions = http.get(f"/subjects/{subject}/versions")
    if versions.status_code == 404:
        return []
    assert versions.json() == list(range(1, len(versions.json()) + 1))
    texts = []
    for version in versions.json():
        found = http.get(f"/subjects/{subject}/versions/{version}").json()
        assert http.get(f"/schemas/ids/{found['id']}").json()["schema"] == found["schema"]
        usages = http.get(f"/schemas/ids/{found['id']}/versions").json()
        assert {"subject": subject, "version": version} in usages
        texts.append(found["schema"])
    return texts


def test_killed_in_the_middle_of_registrations(serve: Callable[..., Process], folder: Path) -> None:
    """Whatever was answered is there; the one that was under way is there as a whole, or is not."""
    dice = random.Random(7)
    asked: list[str] = []
    answered: list[str] = []
    # At least six kills, and as many more as a busy machine needs to register something worth a comparison.
    for kills in range(60):
        server = serve(folder=folder)
        with httpx.Client(base_url=server.url, timeout=60) as http:
            http.put("/config", json={"compatibility": "NONE"}).raise_for_status()
            found = whole(http, "s")
            assert found in (answered, asked), f"{len(answered)} were answered, {len(found)} are there"
            if kills >= 6 and len(found) > 20:
                break
            asked, answered = list(found), list(found)
            killer = threading.Timer(dice.random() * 0.3, server.process.send_signal, [signal.SIGKILL])
            killer.start()
            with suppress(httpx.TransportError):
                while True:
                    asked.append(json.dumps(json.loads(schema(len(asked))), separators=(",", ":")))
                    assert register(http, "s", asked[-1]).json()["version"] == len(asked)
                    answered = list(asked)
            killer.join()
        assert server.end() == -signal.SIGKILL
    else:
        pytest.fail(f"only {len(answered)} were registered in 60 rounds")


# A disk that is full


def test_a_full_disk_is_reported_and_keeps_nothing_by_half(
    serve: Callable[..., Process], folder: Path
) -> None:
    server = serve(folder=folder)
    pid = server.process.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    with httpx.Client(base_url=server.url, timeout=60) as http:
        http.put("/config", json={"compatibility": "NONE"})
        first = register(http, "s", schema(0)).json()
        used = max(file.stat().st_size for file in folder.iterdir())
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (used + 50_000, hard))
        long = json.dumps(
            {"type": "enum", "name": "Long", "doc": os.urandom(100_000).hex(), "symbols": ["A"]}
        )
        for _ in range(2):
            refused = register(http, "s", long)
            assert (refused.status_code, refused.json()["error_code"]) == (500, 50001)
            assert "registry" in refused.json()["message"]
        assert http.get("/subjects/s/versions").json() == [1]
        assert http.get(f"/schemas/ids/{first['id']}").status_code == 200
        assert register(http, "s", schema(0)).json() == first, "what is there needs no room"
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert register(http, "s", long).json() == {"id": 2, "version": 2}
    assert server.end() == 0
    with httpx.Client(base_url=serve(folder=folder).url, timeout=60) as http:
        assert len(whole(http, "s")) == 2
