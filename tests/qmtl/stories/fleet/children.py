"""Programs of this folder as processes of their own."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]


def child(program: str, *words: object) -> list[str]:
    """The command line of a program beside this file; it is run in `ROOT`."""
    return [sys.executable, "-m", f"tests.qmtl.stories.fleet.{program}", *map(str, words)]
