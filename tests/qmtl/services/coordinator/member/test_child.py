"""The etcd of a member is started again, given up in the end, and never left behind. Stand-ins run here."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qmtl.services.coordinator.member import restarts
from qmtl.services.coordinator.member.child import EtcdChild

URL = "http://127.0.0.1:1"


def script(path: Path, text: str) -> list[str]:
    """A program that says how often it was begun."""
    path.write_text(f"#!/bin/sh\necho x >> {path}.runs\n{text}\n")
    path.chmod(0o755)
    return [str(path)]


def until(what: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]
    except FileNotFoundError:
        return False


def test_what_is_killed_is_started_again_and_ends_with_the_service(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "qmtl.coordinator")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    said = (
        """echo '{"level":"warn","ts":"t","msg":"slow disk'$HTTP_PROXY'","took":"1s"}' >&2; exec sleep 600"""
    )
    child = EtcdChild(script(tmp_path / "etcd", said), url=URL, on_given_up=lambda: None)
    runs = tmp_path / "etcd.runs"
    try:
        until(lambda: "slow disk" in caplog.text)
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        until(lambda: child.pid not in (None, first) and runs.read_text() == "x\nx\n")
        second = child.pid
        assert second is not None
        assert "member.ended exit_code=-9" in caplog.text
        assert "etcd.said said='slow disk' facts=\"{'took': '1s'}\"" in caplog.text
    finally:
        child.close()
    assert not lives(second)
    assert child.failure is None
    assert runs.read_text() == "x\nx\n"


def test_what_never_runs_is_given_up_with_its_last_complaint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restarts, "_FIRST_PAUSE_S", 0.01)
    given_up = threading.Event()
    said = """echo '{"level":"error","msg":"slow","took":"1s"}' >&2
    echo '{"level":"warn","msg":"server error","error":"it was removed"}' >&2
    echo '{"level":"error","msg":"serving failed","error":"server is stopping"}' >&2
    echo '{"level":"warn","msg":"peer lost","error":"no route"}' >&2; exit 1"""
    child = EtcdChild(script(tmp_path / "etcd", said), url=URL, on_given_up=given_up.set)
    assert given_up.wait(60)
    assert (tmp_path / "etcd.runs").read_text().count("x") == restarts.MOST_SHORT_RUNS
    assert child.failure is not None
    assert child.failure.why == "server error: it was removed"
    assert child.pid is None
    child.close()


def test_options_that_it_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts, "_FIRST_PAUSE_S", 0.01)
    given_up = threading.Event()
    words = script(tmp_path / "etcd", "echo 'flag provided but not defined' >&2; echo Usage: >&2; exit 2")
    child = EtcdChild(words, url=URL, on_given_up=given_up.set)
    assert given_up.wait(60)
    assert child.failure is not None
    assert child.failure.why == "flag provided but not defined"
    child.close()


def test_one_that_does_not_heed_a_signal_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qmtl.services.coordinator.member.child._END_S", 0.2)
    words = script(tmp_path / "etcd", "trap '' TERM; while true; do sleep 0.1; done")
    child = EtcdChild(words, url=URL, on_given_up=lambda: None)
    until(lambda: (tmp_path / "etcd.runs").exists() and child.pid is not None)
    pid = child.pid
    child.close()
    assert pid is not None
    assert not lives(pid)


def test_it_is_gone_when_the_process_of_the_service_is_killed(tmp_path: Path) -> None:
    words = script(tmp_path / "etcd", "exec sleep 600")
    program = (
        "import sys, time\n"
        "from qmtl.services.coordinator.member.child import EtcdChild\n"
        f"child = EtcdChild({words!r}, url='', on_given_up=lambda: None)\n"
        "while child.pid is None: time.sleep(0.01)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        pid = int(service.stdout.readline())
        until(lambda: (tmp_path / "etcd.runs").exists())
        assert lives(pid)
        service.kill()
        service.wait(60)
        until(lambda: not lives(pid))
