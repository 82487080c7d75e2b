"""A server of QuestDB for the length of the demo, which may be killed and started again."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from qmtl.foundation.errors import StoreError
from qmtl.interfaces.demo.two_machines.server import free_port

# How long it may take to start.
_PATIENCE_S = 120.0


class Server:
    """One that runs on a port of the loopback, with its data in a folder."""

    def __init__(self, jar: Path, folder: Path) -> None:
        self._jar, self._folder, self.port = jar, folder, free_port()
        self.tables = folder / "root" / "db"
        (folder / "root").mkdir()
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers. Raises `StoreError` where it does not."""
        settings = {
            "QDB_TELEMETRY_ENABLED": "false",
            "QDB_HTTP_BIND_TO": f"127.0.0.1:{self.port}",
            "QDB_HTTP_MIN_ENABLED": "false",
            "QDB_PG_ENABLED": "false",
            "QDB_LINE_TCP_ENABLED": "false",
        }
        program = ("-p", self._jar, "-m", "io.questdb/io.questdb.ServerMain", "-d", self._folder / "root")
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["java", "-Xmx512m", *program],
                env={**os.environ, **settings},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _PATIENCE_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise StoreError(
                    "the server of the demo did not start",
                    path=self._folder,
                    why=(self._folder / "log").read_text(errors="replace")[-500:],
                    next_step=f"java -jar of Java 17 or newer is needed; is {self._jar} whole?",
                )
            time.sleep(0.05)

    def kill(self) -> None:
        """As kill -9 does."""
        self._process.kill()
        self._process.wait(30)

    def _answers(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status < 400
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()


@contextmanager
def running_server(jar: Path) -> Iterator[Server]:
    """It and its data are gone afterwards. Raises `StoreError` where something is missing."""
    if shutil.which("java") is None:
        raise _lacking("Java is not installed", "apt-get install openjdk-17-jre-headless")
    if not jar.exists():
        raise _lacking(
            f"there is no {jar}", "scripts/get_questdb.sh, which needs Maven: apt-get install maven"
        )
    folder = Path(tempfile.mkdtemp(prefix="qmtl-demo-"))
    try:
        server = Server(jar, folder)
        try:
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder)


def _lacking(why: str, next_step: str) -> StoreError:
    return StoreError("this demo needs QuestDB, and starts it itself", why=why, next_step=next_step)
