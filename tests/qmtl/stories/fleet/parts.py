"""A program of a fleet: it can be killed, stopped, put out of time, and started anew."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.qmtl.faketime import faked, set_offset
from tests.qmtl.stories.fleet.children import ROOT


@dataclass
class Part:
    """A program that runs on, and is started anew when it has been killed.

    reads_clock: it reads the file `clock` by itself; all others get their time by libfaketime.
    endings: the exit codes with which it ended by itself, and was started anew.
    """

    name: str
    command: Sequence[str]
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    is_killed: bool = False
    reads_clock: bool = False
    endings: list[int] = field(default_factory=list)

    @property
    def clock(self) -> Path:
        return self.folder / f"{self.name}.clock"

    def start(self) -> None:
        """Nothing, if it runs, or has ended with success: that it does once."""
        was_killed, self.is_killed = self.is_killed, False
        if self.process is not None:
            if self.process.poll() in (None, 0):
                return
            if not was_killed:
                self.endings.append(self.process.returncode)
        self.set_clock(0)
        clock = {} if self.reads_clock else faked(self.clock)
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, cwd=ROOT, env={**os.environ, **self.env, **clock}
            )

    def set_clock(self, offset: int) -> None:
        """Its wall clock is so many seconds off."""
        set_offset(self.clock, offset)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.is_killed = True

    def send(self, how: signal.Signals) -> None:
        """Nothing, to one that has ended."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            if how is signal.SIGKILL:
                self.process.wait(60)

    def log(self) -> str:
        return (self.folder / f"{self.name}.log").read_text(errors="replace")
