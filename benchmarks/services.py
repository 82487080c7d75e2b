"""Services as people run them: `qmtl serve`, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_QMTL = Path(sys.executable).with_name("qmtl")


@contextmanager
def served(service: str, *options: str | Path) -> Iterator[str]:
    """The address of `qmtl serve SERVICE` on a free port, while the block runs."""
    command = [_QMTL, "serve", service, "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()
