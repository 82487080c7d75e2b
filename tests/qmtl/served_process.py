"""A service that people start: the installed script in a process of its own, on a free port."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

QMTL = Path(sys.executable).with_name("qmtl")


class ServedProcess:
    """`qmtl` with these arguments, from the address that it prints on. log: where its stderr goes."""

    def __init__(self, log: Path, *arguments: object) -> None:
        self._log = log.open("ab+")
        self.process = subprocess.Popen(
            [QMTL, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            # A test may limit the size of its files, and bytecode would be cut too.
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        address = re.search(r"https?://\S+", line)
        assert address, f"it did not begin: {line!r} {self.reported()}"
        self.url = address[0]

    def reported(self) -> str:
        """What it has written to stderr so far."""
        self._log.seek(0)
        return self._log.read().decode()

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code after a signal; ending twice is nothing."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self._log.close()
