"""Machines with qmtl alone as one group: members die, join, leave, are replaced; a lost group is restored.

Each machine is `qmtl serve coordinator --member` in a process of its own, with a real etcd below it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner, Result

import qmtl
from qmtl.foundation.errors import CoordinatorUnavailableError, InvalidRequestError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.times import to_ns
from qmtl.interfaces.cli.main import app
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.fencing import SHARD_STEPS
from qmtl.runtime.testing.vendors import ScriptedVendor
from qmtl.services.coordinator.member.gateway import opened
from tests.qmtl.etcd import etcd_program, etcdutl_program
from tests.qmtl.ports import free_port
from tests.qmtl.served_process import QMTL

SERIES = "ohlcv:test:BTC/USDT:1m"
NAME = SeriesId.parse(SERIES)


def program_of(found: Path | None, name: str) -> Path:
    if found is None:
        lacking = f"there is no {name}; scripts/build_etcd.sh builds it"
        if os.environ.get("QMTL_TEST_REQUIRE", "") in ("all", "etcd"):
            pytest.fail(lacking)
        pytest.skip(lacking)
    return found


class Machine:
    """A coordinator with a member of its own; it may be killed, and started again with the same data."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.peer_url = f"http://127.0.0.1:{free_port()}"
        self.client_port, self.port = free_port(), free_port()
        self.data = folder / name
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def named(self) -> str:
        return f"{self.name}={self.peer_url}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def etcd_url(self) -> str:
        return f"http://127.0.0.1:{self.client_port}"

    def start(self, cluster: str, *more: str) -> None:
        words = {
            "--member": self.named,
            "--initial-cluster": cluster,
            "--data-dir": self.data,
            "--client-port": self.client_port,
            "--port": self.port,
            "--etcd-program": program_of(etcd_program(), "etcd"),
        }
        given = [str(part) for pair in words.items() for part in pair]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [QMTL, "-v", "serve", "coordinator", *given, *more], stdout=log, stderr=log
            )

    def etcd(self) -> psutil.Process:
        """Its child that runs now."""
        assert self.process is not None
        process = psutil.Process(self.process.pid)
        return until(lambda: next((one for one in process.children() if one.name().startswith("etcd")), None))

    def wait(self) -> None:
        until(lambda: status(self, "/readyz") == 200, what=lambda: self.log.read_text()[-3000:])

    def send(self, how: signal.Signals) -> int | None:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(240)


def until(ask: Callable[[], Any], seconds: float = 240.0, what: Callable[[], str] = lambda: "") -> Any:
    deadline = time.monotonic() + seconds
    while not (found := ask()):
        assert time.monotonic() < deadline, f"it did not come {what()}"
        time.sleep(0.1)
    return found


def status(machine: Machine, path: str) -> int:
    try:
        return httpx.get(machine.url + path, timeout=10).status_code
    except httpx.HTTPError:
        return 0


def claim(
    machine: Machine, worker: str, shard: int = 0, store: str = "s", ttl_s: int = 600
) -> httpx.Response:
    key = {"series": SERIES, "shard": shard, "cells": []}
    body = {"worker": worker, "store": store, "claim_id": f"{worker}-{shard}", "ttl_s": ttl_s, "keys": [key]}
    return httpx.post(f"{machine.url}/v1/leases/claim", json=body, timeout=60)


def state(machine: Machine, worker: str, shard: int = 0) -> str:
    """What the claim is answered, once there is a leader."""
    answer = until(lambda: found if (found := claim(machine, worker, shard)).status_code != 503 else None)
    return str(answer.raise_for_status().json()["answers"][0]["state"])


def run(*words: object) -> Result:
    """`qmtl --json coordinator WORDS`."""
    return CliRunner().invoke(app, ["--json", "coordinator", *map(str, words)])


def command(*words: object, code: int = 0) -> Any:
    """The JSON that it prints."""
    done = run(*words)
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def refused(*words: object) -> str:
    """Why it does nothing, once there is a leader."""
    done = until(lambda: found if (found := run(*words)).exit_code != 7 else None)
    assert done.exit_code == 2, done.output
    return str(json.loads(done.stdout)["error"]["message"])


def once_healthy(*words: object) -> Any:
    """As `command`, for what etcd does only after each member has been connected for five seconds."""

    def ask() -> Any:
        done = run(*words)
        if done.exit_code == 7:
            assert "unhealthy cluster" in done.stdout, done.stdout
            assert "five seconds" in json.loads(done.stdout)["error"]["next_step"]
            return None
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return until(ask)


def leading(machines: list[Machine], ask: Machine) -> Machine:
    """The machine whose member leads."""
    name = until(
        lambda: next(
            (one["name"] for one in command("members", "--etcd", ask.etcd_url) if one["leads"]), None
        )
    )
    return next(one for one in machines if one.name == name)


def group_id(machine: Machine) -> str:
    status = httpx.post(f"{machine.etcd_url}/v3/maintenance/status", json={}, timeout=60)
    return str(status.json()["header"]["cluster_id"])


def cluster_of(*machines: Machine) -> str:
    return ",".join(one.named for one in machines)


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Machine]]:
    """`new(name)`: one more machine; all end with the module, and none leaves an etcd behind."""
    made: list[Machine] = []

    def machine(name: str) -> Machine:
        made.append(Machine(tmp_path_factory.mktemp(name), name))
        return made[-1]

    yield machine
    running = [one for one in made if one.process is not None and one.process.poll() is None]
    codes = [one.send(signal.SIGTERM) for one in running]
    assert set(codes) <= {0}
    assert [etcds_of(one) for one in made if etcds_of(one)] == []


def etcds_of(machine: Machine) -> list[int]:
    """The processes of etcd that have its data open."""
    word = f"--data-dir={machine.data}"
    return [one.pid for one in psutil.process_iter(["cmdline"]) if word in (one.info["cmdline"] or [])]


@pytest.fixture(scope="module")
def three(new: Callable[[str], Machine]) -> list[Machine]:
    """A group that runs; each test leaves three machines that do."""
    machines = [new(name) for name in "abc"]
    for one in machines:
        one.start(cluster_of(*machines))
    for one in machines:
        one.wait()
    return machines


def test_any_one_of_three_may_die_and_two_that_died_are_waited_for(three: list[Machine]) -> None:
    assert state(three[0], "early") == "granted"
    # The machine that leads is lost, at once with its etcd.
    first = leading(three, three[0])
    etcd = first.etcd()
    first.send(signal.SIGKILL)
    until(lambda: not etcd.is_running() or etcd.status() == psutil.STATUS_ZOMBIE)
    second, third = (one for one in three if one is not first)
    assert state(second, "other") == "held"
    assert state(third, "other", 1) == "granted"
    # So is a second one: the third says so, in time.
    second.send(signal.SIGKILL)
    began = time.monotonic()
    answer = until(lambda: found if (found := claim(third, "late", 2)).status_code == 503 else None)
    assert answer.headers["retry-after"] == "1"
    assert time.monotonic() - began < 30
    assert status(third, "/healthz") == 200
    # One of them is back: a majority, which knows what it knew.
    second.start(cluster_of(*three))
    second.wait()
    assert [state(third, "late", shard) for shard in range(3)] == ["held", "held", "granted"]
    first.start(cluster_of(*three))
    first.wait()
    assert state(first, "again") == "held"
    # An etcd alone that dies is started again by its coordinator.
    etcd = first.etcd()
    etcd.kill()
    until(lambda: first.etcd().pid != etcd.pid)
    first.wait()
    assert "member.ended exit_code=-9" in first.log.read_text()


def test_members_join_leave_and_are_replaced(three: list[Machine], new: Callable[[str], Machine]) -> None:
    a, b, c = three
    assert state(a, "joined", 100) == "granted"
    # A fourth joins, with the command that `add` has printed.
    d = new("d")
    added = once_healthy("add", d.named, "--etcd", a.etcd_url)
    assert added["initial_cluster"] == cluster_of(a, b, c, d)
    assert added["command"] == (
        f"qmtl serve coordinator --member {d.named} --initial-cluster {added['initial_cluster']} --join"
    )
    awaited = command("members", "--etcd", a.etcd_url)
    assert [(one["name"], one["version"]) for one in awaited if one["peer_url"] == d.peer_url] == [("", None)]
    assert (
        "has not come yet"
        in command("add", "e=http://127.0.0.1:9", "--etcd", a.etcd_url, code=2)["error"]["message"]
    )
    assert "cannot be used" in refused("add", "e=http://h:1,f=http://h:2", "--etcd", a.etcd_url)
    d.start(added["initial_cluster"], "--join")
    d.wait()
    assert state(d, "other", 100) == "held"
    # It leaves again.
    once_healthy("remove", "d", "--etcd", a.etcd_url)
    assert [one["name"] for one in command("members", "--etcd", a.etcd_url)] == ["a", "b", "c"]
    assert d.process is not None
    assert d.process.wait(240) == 7, d.log.read_text()[-3000:]
    assert "has been permanently removed" in d.log.read_text().rpartition("does not keep running")[2]
    # A machine is lost with its disk; a new one of the same name takes its place.
    c.send(signal.SIGKILL)
    assert "there is a member c" in refused("add", c.named, "--etcd", a.etcd_url)
    once_healthy("remove", "c", "--etcd", a.etcd_url)
    new_c = new("c")
    added = once_healthy("add", new_c.named, "--etcd", a.etcd_url)
    new_c.start(added["initial_cluster"], "--join")
    new_c.wait()
    found = command("members", "--etcd", b.etcd_url)
    assert [(one["name"], one["peer_url"]) for one in found] == [
        ("a", a.peer_url), ("b", b.peer_url), ("c", new_c.peer_url),
    ]  # fmt: skip
    assert all(re.match(r"3\.\d+\.", one["version"]) for one in found)
    # And it is worth something: without b, it is half of the majority.
    b.send(signal.SIGKILL)
    assert state(new_c, "other", 100) == "held"
    b.start(cluster_of(a, b, c))
    b.wait()
    three[:] = [a, b, new_c]
    assert "no member nobody" in refused("remove", "nobody", "--etcd", a.etcd_url)


def test_a_lost_group_is_restored_and_no_fence_goes_back(
    three: list[Machine], new: Callable[[str], Machine], tmp_path: Path
) -> None:
    etcdutl = program_of(etcdutl_program(), "etcdutl")
    vendor = ScriptedVendor()
    shard = NAME.timeframe.step * SHARD_STEPS
    first = to_ns("2024-01-01") // shard * shard
    early, late = (first, first + shard), (first + shard, first + 2 * shard)

    def fetched(machine: Machine, span: tuple[int, int]) -> int:
        """How often the vendor was asked for it."""
        before = len(vendor.calls)
        with qmtl.SeamlessDataProvider(
            tmp_path / "bars",
            vendor,
            coordinator=machine.url,
            metrics_registry=CollectorRegistry(),
            progress=False,
        ) as provider:
            answer = provider.fetch(SERIES, *span)
            assert answer.receipt.uncoordinated is None
            assert answer.frame.height == SHARD_STEPS
        return len(vendor.calls) - before

    def token(claim_id: str) -> list[int]:
        with EmbeddedStore(tmp_path / "bars") as store:
            return list(store.open_fence(NAME, [first // shard, first // shard + 1], claim_id).values())

    assert fetched(three[0], early) > 0
    assert state(three[0], "restored", 200) == "granted"
    # A snapshot is of one member, which may trail by a moment: once it answers so, it has it.
    assert state(three[1], "other", 200) == "held"
    file = tmp_path / "coordinator.db"
    written = command("snapshot", file, "--etcd", three[1].etcd_url)
    assert written["bytes"] == file.stat().st_size
    assert "is there already" in refused("snapshot", file, "--etcd", three[1].etcd_url)
    # What comes after the snapshot is forgotten with the group; the store has it.
    assert fetched(three[1], late) > 0
    tokens = token("before")
    lost = group_id(three[0])
    for one in three:
        one.send(signal.SIGKILL)
    # On the same machines, so that all names and addresses are as they were.
    machines = [Machine(tmp_path, one.name) for one in three]
    for one, old in zip(machines, three, strict=True):
        one.peer_url, one.client_port, one.port = old.peer_url, old.client_port, old.port
    for one in machines:
        command(
            *("restore", file, "--member", one.named, "--initial-cluster", cluster_of(*machines)),
            *("--data-dir", one.data, "--etcdutl-program", etcdutl),
        )
    again = command(
        *("restore", file, "--member", "a=http://127.0.0.1:9", "--data-dir", machines[0].data),
        *("--etcdutl-program", etcdutl),
        code=2,
    )
    assert "is there already" in again["error"]["message"]
    for one, old in zip(machines, three, strict=True):
        one.start(cluster_of(*machines))
        old.process = one.process  # which is ended with the module
    for one in machines:
        one.wait()
    assert group_id(machines[0]) != lost, "a member of the old group would not be let in"
    assert state(machines[0], "other", 200) == "held", "as the snapshot has it"
    assert [fetched(machines[1], span) for span in (early, late)] == [0, 0]
    assert all(new > old for old, new in zip(tokens, token("after"), strict=True))


def test_a_snapshot_that_was_cut_is_not_restored(tmp_path: Path) -> None:
    etcdutl = program_of(etcdutl_program(), "etcdutl")
    (tmp_path / "cut.db").write_bytes(b"x" * 4096)
    words = ("--member", "a=http://127.0.0.1:9", "--data-dir", tmp_path / "a", "--etcdutl-program", etcdutl)
    error = command("restore", tmp_path / "cut.db", *words, code=2)["error"]
    assert "cannot be restored" in error["message"]
    assert error["why"]
    assert "no file" in refused("restore", tmp_path / "none.db", *words)
    assert not (tmp_path / "a").exists()


def test_an_etcd_that_cannot_run_ends_the_service_with_its_reason(new: Callable[[str], Machine]) -> None:
    a = new("a")
    a.data.write_text("no folder")
    a.start(a.named)
    assert a.process is not None
    assert a.process.wait(240) == 2, a.log.read_text()
    assert "another --data-dir" in a.log.read_text()
    with socket.create_server(("127.0.0.1", a.client_port)):  # somebody else's
        a.data.unlink()
        a.start(a.named)
        assert a.process.wait(240) == 7, a.log.read_text()
    assert "address already in use" in a.log.read_text().rpartition("does not keep running")[2]


def test_nobody_answers(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert "no folder" in refused("snapshot", tmp_path / "none" / "s", "--etcd", url)
    for words in (
        ("members",),
        ("add", "a=http://127.0.0.1:9"),
        ("remove", "a"),
        ("snapshot", tmp_path / "s"),
    ):
        error = command(*words, "--etcd", url, code=7)["error"]
        assert "does not answer" in error["message"]
        assert "--client-port" in error["next_step"]
    assert list(tmp_path.iterdir()) == []


def test_it_says_what_it_waits_for_and_can_be_stopped(new: Callable[[str], Machine]) -> None:
    a, b = new("a"), new("b")
    a.start(cluster_of(a, b))
    until(lambda: "a waits for a majority of a, b" in a.log.read_text())
    assert "member.waiting" in a.log.read_text()
    assert status(a, "/healthz") == 0
    assert a.send(signal.SIGTERM) == 0
    assert etcds_of(a) == []


def test_what_others_could_reach_is_refused(new: Callable[[str], Machine]) -> None:
    a = new("a")
    a.peer_url = "http://10.1.2.3:2380"
    a.start(a.named)
    assert a.process is not None
    assert a.process.wait(240) == 2, a.log.read_text()
    assert "without credentials or TLS" in a.log.read_text()
    assert not a.data.exists()


@pytest.mark.parametrize(
    ("body", "kind", "why"),
    [
        (
            {"error": {"grpc_code": 3, "http_code": 400, "message": "etcdserver: user name is empty"}},
            InvalidRequestError,
            "user name is empty",
        ),
        (
            {"code": 16, "message": "etcdserver: invalid auth token"},
            InvalidRequestError,
            "invalid auth token",
        ),
        ({"code": 14, "message": "no leader"}, CoordinatorUnavailableError, "no leader"),
        ("Bad \x1b[2J Request", CoordinatorUnavailableError, r"Bad \x1b[2J Request"),
    ],
)
def test_what_etcd_says_is_shown(body: object, kind: type[Exception], why: str) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(400)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", free_port()), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(kind) as refused:
                opened(f"http://127.0.0.1:{server.server_port}", "maintenance/snapshot", {}, next_step="ask")
        finally:
            server.shutdown()
    assert why in str(refused.value)
    assert ("auth disable" in str(refused.value)) == (kind is InvalidRequestError)
