"""The fleet that a script starts on one machine: it works, is begun again where it was killed, and ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import qmtl
from qmtl.runtime.testing.exchange import SimulatedExchange
from tests.qmtl.etcd import etcd_program
from tests.qmtl.postgres import newest_programs
from tests.qmtl.served_process import QMTL

SCRIPT = Path(__file__).parents[2] / "operations/fleet.sh"
SERIES, RANGE, BARS = "ohlcv:binance:BTC/USDT:1m", ("2024-01-01", "2024-01-08"), 7 * 1440


class ScriptedFleet:
    """What `fleet.sh WORD` does with a folder."""

    def __init__(self, folder: Path, exchange: str) -> None:
        self.folder = folder
        program = etcd_program()
        assert program is not None
        self._env = {**os.environ, "FLEET_ETCD": str(program), "FLEET_EXCHANGE": exchange}

    def run(self, word: str, code: int = 0) -> str:
        done = subprocess.run(
            [SCRIPT, word, self.folder],
            env=self._env,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def pid(self, part: str) -> int:
        return int((self.folder / "pids" / part).read_text().split()[0])

    @property
    def settings(self) -> dict[str, str]:
        """What `. DIR/env` sets."""
        return dict(re.findall(r"^export (\w+)='(.+)'$", (self.folder / "env").read_text(), re.MULTILINE))

    def qmtl(self, *words: str) -> str:
        env = {**os.environ, **self.settings}
        done = subprocess.run(
            [QMTL, *words], env=env, capture_output=True, text=True, cwd=self.folder, check=True
        )
        return done.stdout


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ScriptedFleet]:
    lacking = [
        name for name, found in (("etcd", etcd_program()), ("PostgreSQL", newest_programs())) if not found
    ]
    if lacking:
        if os.environ.get("QMTL_TEST_REQUIRE", "") == "all":
            pytest.fail(f"there is no {lacking[0]}")
        pytest.skip(f"there is no {lacking[0]}")
    with SimulatedExchange() as exchange:
        one = ScriptedFleet(tmp_path / "a fleet", exchange.url)
        try:
            yield one
        finally:
            one.run("stop")
            elsewhere = one.folder / "postgres-data"
            if elsewhere.exists():
                shutil.rmtree(elsewhere.read_text().strip())


def lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def until(what: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.2)
    return found


def test_it_works_goes_on_after_kills_and_leaves_nothing_behind(fleet: ScriptedFleet) -> None:
    assert "runs" not in fleet.run("status", code=3)
    fleet.run("start")
    assert fleet.run("status").count("runs") == 10
    before = {part: fleet.pid(part) for part in ("etcd-0", "coordinator-0", "worker-0", "worker-1")}
    for part in ("etcd-0", "coordinator-0", "worker-0"):
        os.kill(before[part], signal.SIGKILL)
    until(lambda: fleet.run("status", code=1).count("ended") == 3)
    # What is left of it fills a range, by way of the other coordinator.
    fleet.qmtl("backfill", SERIES, *RANGE, "--detach")
    until(lambda: " completed " in fleet.qmtl("jobs"))
    with qmtl.SeamlessDataProvider(fleet.settings["QMTL_SEAMLESS_STORE"], {}) as provider:
        assert provider.coverage(SERIES, *RANGE).counts["present"] == BARS
    fleet.run("start")
    assert fleet.run("status").count("runs") == 10
    assert fleet.pid("worker-1") == before["worker-1"], "what ran was left alone"
    assert fleet.pid("worker-0") != before["worker-0"]
    everything = [fleet.pid(path.name) for path in (fleet.folder / "pids").iterdir()]
    assert len(everything) == 10
    fleet.run("stop")
    assert [pid for pid in everything if lives(pid)] == []
    assert "runs" not in fleet.run("status", code=3)
    assert not [
        one.pid
        for one in psutil.process_iter(["cmdline"])
        if str(fleet.folder) in " ".join(one.info["cmdline"] or [])
    ]


def test_words_that_it_does_not_know() -> None:
    done = subprocess.run([SCRIPT, "restart"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "fleet.sh start [DIR]" in done.stderr
    assert "set -euo" not in done.stderr


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="there is no shellcheck")
def test_nothing_in_it_is_doubtful() -> None:
    done = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
