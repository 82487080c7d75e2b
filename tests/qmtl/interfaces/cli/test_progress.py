"""Bars of commands: on a terminal, after some patience, and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

# The timer has no patience here; `join` is over when it has begun to draw.
CODE = """
import sys
from qmtl.interfaces.cli import progress
progress.PATIENCE_S = 0
with progress.Bars() as bars:
    bars.advance("reading a file", 1, 4)
    if bars._timer.is_alive():
        bars._timer.join()
    bars.advance("reading a file", 3, 4)
    bars.advance("writing", 0, None)
print("rich.progress" in sys.modules)
"""


def drawn(on_terminal: bool) -> tuple[str, str]:
    """What stands on stderr, and on stdout."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        stdout=subprocess.PIPE,
        stderr=theirs if on_terminal else subprocess.PIPE,
        env=environment,
        text=True,
        check=True,
    )
    os.close(theirs)
    shown = done.stderr or ""
    if on_terminal:
        try:
            while part := os.read(ours, 65536):
                shown += part.decode()
        except OSError:  # Linux says so when the other end is closed
            pass
    os.close(ours)
    return shown, done.stdout.strip()


def test_a_terminal_shows_what_came_before_and_after_the_bar_did() -> None:
    shown, is_loaded = drawn(on_terminal=True)
    assert "reading a file" in shown
    assert "3/4" in shown
    assert "writing" in shown
    assert is_loaded == "True"


@pytest.mark.parametrize("color", ["0", "1"])
def test_a_pipe_shows_nothing_and_loads_nothing(color: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", color)  # colours are asked for, and no bars
    assert drawn(on_terminal=False) == ("", "False")
