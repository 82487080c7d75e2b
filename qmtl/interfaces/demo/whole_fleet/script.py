"""The fleet that `operations/fleet.sh` starts, as the demo uses it: parts by name, and commands."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

from qmtl.foundation.errors import QmtlError
from qmtl.interfaces.demo.commands import run

# Whatever this machine needs for the world outside.
_OPENER = build_opener(ProxyHandler({}))


class Fleet:
    """folder: of its data, logs and process ids."""

    def __init__(self, script: Path, folder: Path, exchange: str) -> None:
        self.folder = folder
        self._script = script
        self._env = {**os.environ, "FLEET_EXCHANGE": exchange}

    def start(self) -> None:
        """Begin all that does not run. Raises `QmtlError` with what the script says."""
        self._run("start", (0,))

    def status(self) -> str:
        return self._run("status", (0, 1, 3))

    def stop(self) -> None:
        self._run("stop", (0,))

    def _run(self, word: str, fine: tuple[int, ...]) -> str:
        done = subprocess.run(
            [self._script, word, self.folder], env=self._env, capture_output=True, text=True, check=False
        )
        if done.returncode not in fine:
            raise QmtlError(
                f"the fleet of the demo did not {word}",
                why=done.stderr.strip() or done.stdout.strip(),
                next_step=f"look into {self.folder / 'logs'}; etcd is built by: make services",
            )
        return done.stdout

    def pid(self, part: str) -> int:
        return int((self.folder / "pids" / part).read_text().split()[0])

    def kill(self, part: str, how: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.pid(part), how)

    @property
    def settings(self) -> dict[str, str]:
        """The variables that make qmtl use it."""
        lines = (self.folder / "env").read_text()
        return dict(re.findall(r"^export (\w+)='(.+)'$", lines, re.MULTILINE))

    @property
    def store(self) -> str:
        return self.settings["QMTL_SEAMLESS_STORE"]

    @property
    def coordinator(self) -> str:
        return self.settings["QMTL_SEAMLESS_COORDINATOR_URL"]

    def command(self, *words: str) -> str:
        """What `qmtl WORDS` prints, as one sees it who has read DIR/env."""
        with self._as_settings():
            done = run(words, self.folder)
        if done.returncode:
            raise QmtlError(f"qmtl {words[0]} of the demo failed", why=done.stderr.strip())
        return done.stdout

    def asked(self, path: str) -> Any:
        """What the coordinators answer. Raises `URLError` where they do not."""
        return _json(Request(self.coordinator + path))

    def leader(self) -> str | None:
        """The part that leads the group of etcd, as it says itself; None while nobody does."""
        for number, port in enumerate((self.folder / "ports").read_text().split()[4:7]):
            status = Request(f"http://127.0.0.1:{port}/v3/maintenance/status", data=b"{}", method="POST")
            try:
                answer = _json(status)
            except (URLError, TimeoutError, ConnectionError):
                continue  # it was killed
            if answer.get("leader") == answer["header"]["member_id"]:
                return f"etcd-{number}"
        return None

    @contextmanager
    def _as_settings(self) -> Iterator[None]:
        before = dict(os.environ)
        os.environ.update(self.settings)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _json(request: Request) -> Any:
    with _OPENER.open(request, timeout=10) as answer:
        return json.load(answer)
