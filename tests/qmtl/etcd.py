"""A real etcd for tests: one member or more on free ports of the loopback, with data in a temporary place."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.qmtl.ports import free_port

# The newest, and the oldest that the coordinator takes.
NEWEST, OLDEST = "3.7.3", "3.6.16"


def etcd_program(version: str = NEWEST) -> Path | None:
    """What `scripts/build_etcd.sh` has built; in place of the newest, that of QMTL_TEST_ETCD or of PATH."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = cache / "qmtl-tests" / f"etcd-{version}"
    if version != NEWEST:
        return built if built.exists() else None
    named = os.environ.get("QMTL_TEST_ETCD") or (None if built.exists() else shutil.which("etcd"))
    return Path(named) if named else built if built.exists() else None


def etcdutl_program() -> Path | None:
    """What restores snapshots of the newest, built beside it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = cache / "qmtl-tests" / f"etcdutl-{NEWEST}"
    return built if built.exists() else None


class EtcdCluster:
    """Members that are one cluster: each may be killed, stopped for a while, and started again."""

    def __init__(self, program: Path, members: int = 1, *options: str) -> None:
        self._program = program
        self.options = options
        self.folder = Path(tempfile.mkdtemp(prefix="qmtl-etcd-"))
        self._clients = [f"http://127.0.0.1:{free_port()}" for _ in range(members)]
        self._peers = [f"http://127.0.0.1:{free_port()}" for _ in range(members)]
        self.processes: list[subprocess.Popen[bytes]] = []
        try:
            for number in range(members):
                self.processes.append(self._started(number))
            for number in range(members):
                self.wait(number)
        except BaseException:
            self.remove()
            raise

    @property
    def urls(self) -> list[str]:
        return self._clients

    def start(self, number: int) -> None:
        """Start a member again that was killed, and wait until it answers."""
        self.begin(number)
        self.wait(number)

    def begin(self, number: int) -> None:
        """Start a member again that was killed."""
        self.processes[number] = self._started(number)

    def _started(self, number: int) -> subprocess.Popen[bytes]:
        client, peer = self._clients[number], self._peers[number]
        options = {
            "name": f"n{number}",
            "data-dir": self.folder / f"n{number}",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": ",".join(f"n{n}={url}" for n, url in enumerate(self._peers)),
            "log-level": "error",
        }
        given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        # What is killed leaves all that it has written. A disk that is busy takes longer than a call may.
        given.append("--unsafe-no-fsync")
        with (self.folder / f"n{number}.log").open("ab") as log:
            return subprocess.Popen(
                [self._program, *given, *self.options], stdout=log, stderr=log, start_new_session=True
            )

    def wait(self, number: int) -> None:
        """Until the member is healthy: it has a leader, and can commit."""
        deadline = time.monotonic() + 300
        while True:
            try:
                with urllib.request.urlopen(f"{self._clients[number]}/health", timeout=5) as answer:
                    if b'"true"' in answer.read():
                        return
            except (urllib.error.URLError, OSError):
                pass  # not yet
            ended = self.processes[number].poll() is not None
            if ended or time.monotonic() > deadline:
                log = (self.folder / f"n{number}.log").read_text()
                raise RuntimeError(f"etcd did not start: {log[-2000:]}")
            time.sleep(0.05)

    def send(self, number: int, how: signal.Signals) -> None:
        """A signal to one member: SIGSTOP, SIGCONT; after SIGKILL it is gone."""
        self.processes[number].send_signal(how)
        if how is signal.SIGKILL:
            self.processes[number].wait(30)

    def remove(self) -> None:
        """End all members, and delete their data."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait(30)
        shutil.rmtree(self.folder)
