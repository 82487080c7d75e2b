"""What work consists of, counted rather than timed: the same on a busy machine as on a quiet one."""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from qmtl.runtime.io.sql.sqlite.layout import PAGE_BYTES

_IO = Path("/proc/self/io")


class Counts(NamedTuple):
    """What one piece of work took.

    steps: of SQLite's machine, as far as its progress handler sees them: some for each row that is looked at.
    pages: read from files, with nearly none kept from one read to the next; 0 where the system has no count.
    calls: functions entered, of Python and of C, on all threads.
    """

    steps: int
    pages: int
    calls: int


class Counter:
    """Counts what is done through connections that were opened while `counting` held."""

    def __init__(self) -> None:
        self._steps = self._calls = 0

    def count(self, work: Callable[[], object]) -> Counts:
        """What one call of `work` takes. Only one at a time."""
        self._calls, steps, read = 0, self._steps, _bytes_read()
        sys.setprofile(self._called)
        try:
            work()
        finally:
            sys.setprofile(None)
        return Counts(self._steps - steps, (_bytes_read() - read) // PAGE_BYTES, self._calls)

    def _called(self, frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "c_call") and frame.f_code is not _STEPPED:
            self._calls += 1

    def _stepped(self) -> int:
        self._steps += 1
        return 0

    def watch(self, connection: sqlite3.Connection) -> None:
        """Count what a connection does from now on, and let it keep next to nothing in memory."""
        connection.execute("PRAGMA cache_size = 1")
        connection.set_progress_handler(self._stepped, 1)

    @contextmanager
    def on_all_threads(self) -> Iterator[None]:
        """Count also what threads call that are started within the block."""
        threading.setprofile(self._called)
        try:
            yield
        finally:
            threading.setprofile(None)


_STEPPED = Counter._stepped.__code__


@contextmanager
def counting() -> Iterator[Counter]:
    """A counter that watches every connection of SQLite that is opened within the block."""
    counter, connect = Counter(), sqlite3.connect

    def watched(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        counter.watch(connection)
        return connection

    sqlite3.connect = watched  # type: ignore[assignment]
    try:
        with counter.on_all_threads():
            yield counter
    finally:
        sqlite3.connect = connect


def _bytes_read() -> int:
    if not _IO.exists():
        return 0
    return int(_IO.read_text().split(maxsplit=2)[1])
