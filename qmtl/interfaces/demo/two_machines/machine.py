"""A process as a machine: it has a state folder of its own, so that it does not see the locks of another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from qmtl.foundation.errors import QmtlError
from qmtl.foundation.timeline import Span


class Machine:
    """A process that fetches what it is told to, as `work.py` does it; a context that ends it."""

    def __init__(self, name: str, folder: Path, store: str, exchange: str, series: str) -> None:
        self.name = name
        folder.mkdir(parents=True, exist_ok=True)
        store = f"{store}&application_name={name}"  # as the server's list of sessions shows it
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.work", store, exchange, series, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_STATE_HOME": str(folder)},
        )

    def fetch(self, span: Span, *, as_of: int | None = None) -> None:
        """Begin a fetch; `answer` waits for its end."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([span.start, span.end, as_of]) + "\n")
        self.process.stdin.flush()

    def hear(self, name: str) -> dict[str, Any]:
        """What it says the next time that this is part of it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            facts: dict[str, Any] = json.loads(line)
            if name in facts:
                return facts
        raise QmtlError(
            f"{self.name} of the demo has ended early",
            why=f"it did not come to say {name!r}",
            next_step="read what it wrote above",
        )

    def answer(self) -> dict[str, Any]:
        """What the fetch that has begun has brought."""
        return self.hear("fingerprint")

    def kill(self) -> None:
        """As the loss of its power would."""
        self.process.kill()
        self.close()

    def __enter__(self) -> Machine:
        self.hear("ready")
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let it end, and wait for that."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait(30)
