"""A real PostgreSQL server for tests: laid out in a temporary folder, on a free port of the loopback."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from tests.qmtl.ports import free_port

USER = "qmtl"
# Logins of this name have to give a password; all others are trusted.
SECURED, PASSWORD = "secured", "s3cret:pass@word"
_HBA = f"host all {SECURED} 127.0.0.1/32 scram-sha-256\nhost all,replication all 127.0.0.1/32 trust\n"


def newest_programs() -> Path | None:
    """Where the programs of the newest PostgreSQL lie that Debian's packages have installed."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(found, key=lambda path: float(path.parent.name), default=None)


class PostgresServer:
    """One server. It never runs as root: the user `postgres` of the package does it then.

    replica_of: the server that it follows, from a copy of whose files it begins; it stays in recovery.
    env: variables of its processes, beside those of this one.
    """

    _env: Mapping[str, str] | None = None

    def __init__(
        self,
        programs: Path,
        *,
        folder: Path | None = None,
        replica_of: PostgresServer | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._programs = programs
        if env is not None:
            self._env = {**os.environ, **env}
        self._user = "postgres" if os.getuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="qmtl-postgres-")) if folder is None else folder
        self.data = self.folder / "data"
        if self._user:
            shutil.chown(self.folder, self._user)
        if replica_of is None:
            self._run("initdb", "-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C", "--data-checksums")
            (self.data / "pg_hba.conf").write_text(_HBA)
        else:
            there = ("-h", "127.0.0.1", "-p", str(replica_of.port), "-U", USER)
            self._run("pg_basebackup", *there, "--write-recovery-conf", "--checkpoint=fast")
        self.port = free_port()
        self.start()

    def _run(self, program: str, *options: str) -> None:
        """A program that lays out the data."""
        subprocess.run(
            [self._programs / program, "-D", self.data, "--no-sync", *options],
            user=self._user,
            check=True,
            cwd="/",
            stdout=subprocess.DEVNULL,
        )

    def url(self, schema: str | None = None, *, user: str = USER, database: str = "postgres") -> str:
        """The address of a store on this server."""
        query = f"?schema={schema}" if schema else ""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}{query}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": 200,
            "shared_buffers": "64MB",
        }
        given = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data, *given],
                user=self._user,
                env=self._env,
                cwd="/",
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        asked = [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        deadline = time.monotonic() + 60
        while subprocess.run(asked, check=False).returncode:
            ended, late = self.process.poll(), time.monotonic() > deadline
            if ended is not None or late:
                raise RuntimeError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a loss of power would: no process of it gets to say a last word."""
        server = psutil.Process(self.process.pid)
        server.suspend()  # so that it has no child that is not in the list
        while server.status() != psutil.STATUS_STOPPED:
            time.sleep(0.001)
        children = server.children(recursive=True)
        for one in (*children, server):
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.wait(60)
        # While one of them is still there, no other server starts on the same data.
        deadline = time.monotonic() + 60
        while any(map(_lives, children)):
            assert time.monotonic() < deadline, children
            time.sleep(0.01)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it in order: it closes all connections, and writes everything to its files."""
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(60)

    def remove(self) -> None:
        """End it, and delete its data."""
        self.stop(signal.SIGQUIT)  # without writing what is deleted
        shutil.rmtree(self.folder)


def _lives(process: psutil.Process) -> bool:
    """A zombie has ended, whether or not somebody asks for its status."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
