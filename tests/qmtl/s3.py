"""Two real S3 servers for tests, S3Proxy and moto, on free ports of the loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path

from tests.qmtl.ports import answers, free_port

S3PROXY, MOTO = "4.1.0", "5.2.2"
KEY, SECRET = "qmtl-key", "qmtl-secret"
BUCKET = "bars"

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qmtl-tests"


def s3proxy_jar() -> Path | None:
    """The jar that scripts/get_s3.sh has fetched."""
    jar = _CACHE / f"s3proxy-{S3PROXY}.jar"
    return jar if jar.exists() and shutil.which("java") else None


def moto_program() -> Path | None:
    """The program of the environment that scripts/get_s3.sh has made."""
    home = _CACHE / f"moto-{MOTO}"
    return home / "bin" / "moto_server" if (home / ".ready").exists() else None


class S3Server:
    """One server, with one bucket."""

    def __init__(self, name: str, command: list[str | Path], port: int, folder: Path) -> None:
        self.name = name
        self.port = port
        self.folder = folder
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 90
        while not answers(self.port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)
        self._make_bucket()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def variables(self, port: int | None = None) -> dict[str, str]:
        """What a process needs to use it. port: of a proxy before it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port or self.port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def _make_bucket(self) -> None:
        raise NotImplementedError

    def remove(self) -> None:
        """End it, and delete its data."""
        self.process.kill()
        self.process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)


class S3Proxy(S3Server):
    """Files behind the interface of S3; it checks who asks."""

    def __init__(self, jar: Path) -> None:
        folder, port = Path(tempfile.mkdtemp(prefix="qmtl-s3proxy-")), free_port()
        (folder / "data").mkdir()
        settings = {
            "s3proxy.endpoint": f"http://127.0.0.1:{port}",
            "s3proxy.authorization": "aws-v4",
            "s3proxy.identity": KEY,
            "s3proxy.credential": SECRET,
            "jclouds.provider": "filesystem-nio2",
            "jclouds.filesystem.basedir": str(folder / "data"),
        }
        (folder / "settings").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        options = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        super().__init__("S3Proxy", ["java", *options, "-jar", jar, "--properties", "settings"], port, folder)

    def _make_bucket(self) -> None:
        (self.folder / "data" / BUCKET).mkdir()


class Moto(S3Server):
    """S3 in the memory of a process."""

    def __init__(self, program: Path) -> None:
        folder, port = Path(tempfile.mkdtemp(prefix="qmtl-moto-")), free_port()
        super().__init__("moto", [program, "-H", "127.0.0.1", "-p", str(port)], port, folder)

    def _make_bucket(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("PUT", f"/{BUCKET}")
        assert connection.getresponse().status == 200
        connection.close()
