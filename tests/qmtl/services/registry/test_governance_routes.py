"""The records of governance over HTTP: what records promise, roles, and what careless clients send."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from qmtl.foundation.errors import RegistryUnavailableError, SchemaRegistryError
from qmtl.foundation.schema.governance.decisions import Observation
from qmtl.foundation.schema.registry.memory_storage import MemoryStorage
from qmtl.foundation.schema.registry.records import RegistryRecords
from qmtl.foundation.schema.registry.rest.records import RemoteRecords
from qmtl.runtime.testing.governance_suite import NOON, SUBJECT, GovernanceRecordsSuite, decision
from qmtl.services.registry.sqlite import SqliteStorage


class TestRowsInMemory(GovernanceRecordsSuite):
    @pytest.fixture
    def records(self) -> RegistryRecords:
        return RegistryRecords(MemoryStorage())


class TestRowsInSqlite(GovernanceRecordsSuite):
    @pytest.fixture
    def records(self, tmp_path: Path) -> Iterator[RegistryRecords]:
        storage = SqliteStorage(tmp_path / "registry")
        yield RegistryRecords(storage)
        storage.close()


class TestRemoteRecords(GovernanceRecordsSuite):
    @pytest.fixture
    def records(self, serve: Callable[..., Any]) -> Iterator[RemoteRecords]:
        server = serve()
        remote = RemoteRecords.at(server.url)
        yield remote
        remote.close()
        server.end()


def test_records_outlive_the_server(serve: Callable[..., Any]) -> None:
    first = serve()
    remote = RemoteRecords.at(first.url)
    remote.decide(SUBJECT, decision(0))
    remote.observe(SUBJECT, Observation(1, NOON, 5, 1))
    remote.close()
    first.end()
    second = serve(folder=first.folder)
    remote = RemoteRecords.at(second.url)
    assert remote.decisions(SUBJECT) == (decision(0),)
    assert remote.observed(SUBJECT) == (Observation(1, NOON, 5, 1),)
    second.end()
    with pytest.raises(RegistryUnavailableError):
        remote.decisions(SUBJECT)
    remote.close()


def test_what_is_in_force_is_reported_beside_the_decisions(http: httpx.Client) -> None:
    stated = {"subject": "told", "at": "2026-01-01", "entry": f"1:{'0' * 64}"}
    for more in (
        {"action": "promote", "version": 1},
        {"action": "tombstone", "version": 2, "reason": "lots"},
        {"action": "rollback"},
    ):
        answer = http.post("/governance/decisions", json=stated | more)
        assert answer.status_code == 200, answer.text
    found = http.get("/governance/decisions", params={"subject": "told"}).json()
    assert (found["mode"], found["tombstones"], len(found["decisions"])) == ("canary", {"2": "lots"}, 3)


@pytest.mark.parametrize("doomed", [1, 2])
def test_a_tombstoned_version_is_refused_to_who_names_it_and_read_by_who_must(
    http: httpx.Client, doomed: int
) -> None:
    subject = f"tombstoned-{doomed}"
    for text in ('{"type": "int"}', '{"type": "long"}'):
        http.post(f"/subjects/{subject}/versions", json={"schema": text}).raise_for_status()
    path = f"/subjects/{subject}/versions"
    id = http.get(f"{path}/{doomed}").json()["id"]
    stated = {"at": "2026-01-01", "entry": f"1:{'0' * 64}", "action": "tombstone", "reason": "was in lots"}
    body = stated | {"subject": subject, "version": doomed}
    http.post("/governance/decisions", json=body).raise_for_status()
    refused = http.get(f"{path}/{doomed}")
    assert (refused.status_code, refused.json()["error_code"]) == (404, 40402)
    assert "is tombstoned: was in lots" in refused.json()["message"]
    assert http.get(f"{path}/latest").json()["version"] == 3 - doomed
    assert http.get(f"{path}/{doomed}", params={"deleted": "true"}).json()["id"] == id
    assert http.get(f"/schemas/ids/{id}").status_code == 200
    http.post("/governance/decisions", json=body | {"version": 3 - doomed}).raise_for_status()
    assert http.get(f"{path}/latest").status_code == 404


DECISION = {"subject": "s", "at": "2026-01-01", "action": "promote", "version": 1, "entry": f"1:{'0' * 64}"}
OBSERVATION = {"subject": "s", "version": 1, "hour": "2026-01-01T01:00:00Z", "checked": 1, "failed": 0}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("decisions", DECISION | {"action": "approve"}),
        ("decisions", DECISION | {"at": "yesterday"}),
        ("decisions", DECISION | {"entry": "1:zz"}),
        ("decisions", DECISION | {"version": 0}),
        ("decisions", DECISION | {"subject": ""}),
        ("decisions", DECISION | {"subject": "a\nb"}),
        ("decisions", DECISION | {"subject": "é" * 128}),
        ("decisions", DECISION | {"unknown": 1}),
        ("observations", OBSERVATION | {"hour": "2026-01-01T01:30:00Z"}),
        ("observations", OBSERVATION | {"hour": "1969-01-01"}),
        ("observations", OBSERVATION | {"checked": -1}),
        ("observations", OBSERVATION | {"failed": 2}),
        ("observations", OBSERVATION | {"failed": False}),
        ("observations", OBSERVATION | {"version": 2**40}),
    ],
)
def test_what_cannot_be_used_is_refused(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    answer = http.post(f"/governance/{path}", json=body)
    assert answer.status_code == 422
    assert set(answer.json()) == {"error_code", "message"}
    assert http.get("/governance/decisions", params={"subject": "s"}).json()["decisions"] == []


def test_roles(serve: Callable[..., Any], tmp_path: Path) -> None:
    roles = ("read", "write", "admin")
    lines = [f"  {r}: {{role: {r}, sha256: {hashlib.sha256(r.encode()).hexdigest()}}}" for r in roles]
    (tmp_path / "auth.yml").write_text("tokens:\n" + "\n".join(lines) + "\n")
    server = serve("--auth", tmp_path / "auth.yml")
    able = {}
    for role in roles:
        records = RemoteRecords.at(server.url, auth=role)
        acts: dict[str, Callable[[], object]] = {
            "look": lambda records=records: records.decisions(SUBJECT),
            "observe": lambda records=records: records.observe(SUBJECT, Observation(1, NOON, 1, 0)),
            "decide": lambda records=records: records.decide(SUBJECT, decision(0)),
        }
        able[role] = [name for name, act in acts.items() if status(act) == 200]
        assert {status(act) for act in acts.values()} <= {200, 403}
        records.close()
    assert able == {"read": ["look"], "write": ["look", "observe"], "admin": ["look", "observe", "decide"]}
    with closing(RemoteRecords.at(server.url)) as nobody, pytest.raises(SchemaRegistryError) as caught:
        nobody.decisions(SUBJECT)
    assert caught.value.status == 401
    server.end()


def status(act: Callable[[], object]) -> int:
    try:
        act()
    except SchemaRegistryError as refusal:
        return refusal.status
    return 200
