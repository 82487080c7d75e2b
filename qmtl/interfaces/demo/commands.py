"""Commands as a person types them, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def run(words: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """`qmtl` with these words, in a folder."""
    qmtl = [sys.executable, "-c", "from qmtl.interfaces.cli.main import run; run()"]
    return subprocess.run(
        [*qmtl, *words], cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False
    )
