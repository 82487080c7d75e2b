"""A real QuestDB server for tests: one jar, its data in a temporary folder, on free ports of the loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from tests.qmtl.ports import answers, free_port

VERSION = "9.3.4"
# Whoever asks has to give them. The signs are those of addresses and of the client's settings.
USER, PASSWORD = "qmtl", "s3cret;pass@word"


def questdb_jar() -> Path | None:
    """The jar that scripts/get_questdb.sh has fetched."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    jar = cache / "qmtl-tests" / f"questdb-{VERSION}.jar"
    return jar if jar.exists() and shutil.which("java") else None


# A server of tests starts quickly, and never becomes as quick as it might.
_QUICK_START = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

# Its threads look for work 10,000 times after each request before they sleep: a server of tests that is asked
# now and then took a quarter of a core so. Each of these pools is set by itself.
_POOLS = ("shared", "http", "export", "wal.apply", "mat.view.refresh", "view.compiler")
_LOOKS = {"yield": "10", "nap": "100", "sleep": "200"}
_SOON_ASLEEP = {f"{pool}.worker.{how}.threshold": looks for pool in _POOLS for how, looks in _LOOKS.items()}
# Each column of a table that is written lies in a file of 16 MB: the tables of all tests took thirty GB.
_SMALL_FILES = {"cairo.writer.data.append.page.size": "128K"}
OF_TESTS = _SOON_ASLEEP | _SMALL_FILES


class QuestDBServer:
    """One server, for one user.

    root: a folder for its data. java: options of Java; settings: of the server, beside what all have here.
    env: what is added to its environment.
    """

    def __init__(
        self,
        jar: Path,
        *,
        root: Path | None = None,
        java: Sequence[str] = _QUICK_START,
        settings: Mapping[str, str] = OF_TESTS,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._jar, self._java, self._settings, self.env = jar, java, settings, env or {}
        self.folder = Path(tempfile.mkdtemp(prefix="qmtl-questdb-"))
        self.root = root or self.folder / "root"
        self.root.mkdir(exist_ok=True)
        self.port, self.pg_port = free_port(), free_port()
        try:
            self.start()
        except BaseException:
            self.remove()
            raise

    def url(self, catalog: Path | str, name: str, *, password: str = PASSWORD) -> str:
        """The address of a store on this server."""
        return (
            f"questdb://{USER}:{quote(password, safe='')}@127.0.0.1:{self.port}?catalog={catalog}&name={name}"
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        of_tests = {
            "telemetry.enabled": "false",
            "dev.mode.enabled": "true",  # so that tests may suspend tables
            "http.bind.to": f"127.0.0.1:{self.port}",
            "http.min.enabled": "false",
            "pg.enabled": "false",
            "pg.net.bind.to": f"127.0.0.1:{self.pg_port}",
            "pg.user": USER,
            "pg.password": PASSWORD,
            "line.tcp.enabled": "false",
            "shared.worker.count": "2",
            "http.user": USER,
            "http.password": PASSWORD,
            **self._settings,
        }
        environment = {f"QDB_{name.upper().replace('.', '_')}": value for name, value in of_tests.items()}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *("java", *self._java),
                    *("-p", self._jar, "-m", "io.questdb/io.questdb.ServerMain", "-d", self.root),
                ],
                env={**os.environ, **environment, **self.env},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 300
        while not answers(self.port, "/ping"):
            ended, late = self.process.poll(), time.monotonic() > deadline
            if ended is not None or late:
                raise RuntimeError(f"QuestDB did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as kill -9 does."""
        self.process.kill()
        self.process.wait(30)

    def remove(self) -> None:
        """End it, and delete its data."""
        if self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
