"""The console that people read, apart from what is shown on it: a command loads no more than it shows."""

from __future__ import annotations

from rich.console import Console


class PipeAwareConsole(Console):
    """Lets the caller hear that the reader has gone, where rich would end the process with exit code 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError
