"""ArcticDB as a peer: the same raw work, done by a process in an environment of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import polars as pl

from benchmarks import scene
from benchmarks.arctic_environment import is_installed, python
from benchmarks.stopwatch import OwnTime
from qmtl.foundation.timeline import Span

_WORKER = Path(__file__).parent / "arctic_worker.py"


class Arctic:
    """A process that works on one library in a folder; each verb answers with how long it took over there."""

    def __init__(self, asked: IO[str], answers: IO[str], folder: Path) -> None:
        self._asked, self._answers = asked, answers
        self._raw = folder / "frame.raw"

    def load(self, frame: pl.DataFrame, name: str) -> None:
        """Have a frame at hand over there."""
        self._raw.write_bytes(scene.raw_bytes(frame))
        self._do("load", path=str(self._raw), frame=name)
        self._raw.unlink()

    def forget(self, name: str) -> None:
        self._do("forget", frame=name)

    def touch(self, size: int) -> None:
        """Get so many bytes of memory from the system, and give them back."""
        self._do("touch", size=size)

    def write(self, series: str, name: str) -> OwnTime:
        """A frame in place of all that the series had, durable."""
        return self._do("write", series=series, frame=name)

    def append(self, series: str, name: str, row: int) -> OwnTime:
        """One row of a frame, durable."""
        return self._do("append", series=series, frame=name, row=row)

    def read(self, series: str, span: Span, *, keep: bool = False) -> OwnTime:
        """The rows of a span, as a frame."""
        return self._do("read", series=series, first=span.start, last=span.end - 1, keep=keep)

    def read_many(self, series: list[str], span: Span) -> OwnTime:
        """The rows of a span of several series, as a frame for each."""
        return self._do("read_many", series=series, first=span.start, last=span.end - 1)

    def _do(self, verb: str, **values: object) -> OwnTime:
        self._asked.write(json.dumps({"do": verb, **values}) + "\n")
        self._asked.flush()
        answer = self._answers.readline()
        if not answer:
            raise RuntimeError(f"ArcticDB ended when it was asked to {verb}; its output stands above")
        return OwnTime(float(answer))


@contextmanager
def opened(folder: Path) -> Iterator[Arctic | None]:
    """ArcticDB on a library in a folder, which is made if need be; None where it is not installed."""
    if not is_installed():
        yield None
        return
    folder.mkdir(parents=True, exist_ok=True)
    command = [python(), str(_WORKER), f"lmdb://{folder / 'library'}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Arctic(process.stdin, process.stdout, folder)
        process.stdin.close()
