"""While a strategy runs, nothing in its process reads bars but the run itself."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qmtl.foundation.errors import LookAheadError

# What Python says of an operation before it begins, in words. See "Audit events" in its documentation.
_REFUSED = {
    "subprocess.Popen": "start a child process",
    "os.fork": "start a child process",
    "os.forkpty": "start a child process",
    "os.exec": "start another program",
    "os.posix_spawn": "start a child process",
    "os.system": "start a child process",
    "socket.connect": "open a connection",
    "socket.getaddrinfo": "open a connection",
    "sqlite3.connect": "open a database",
}


class _Thread(threading.local):
    """Of the thread that asks: whether it belongs to a run, and whether the code of a strategy is at work."""

    runs = 0
    is_playing = False
    folders: tuple[str, ...] = ()


_here = _Thread()
_lock = threading.Lock()
_runs = 0  # of all threads
_is_watching = False
_is_isolated = False


def isolate() -> None:
    """This process is that of an isolated strategy: from now on nothing in it reads bars, or begins a run."""
    global _is_isolated
    _is_isolated = True


@contextmanager
def submitting() -> Iterator[None]:
    """A run of this thread, from its preparation on: it may read, whichever strategies run meanwhile."""
    if _here.is_playing or _is_isolated:
        raise _error("start another run")
    _here.runs += 1
    try:
        yield
    finally:
        _here.runs -= 1


@contextmanager
def running() -> Iterator[None]:
    """The strategy of a run is at work: until it ends, reading is for runs alone."""
    global _runs
    with _lock:
        _watch()
        _runs += 1
    try:
        yield
    finally:
        with _lock:
            _runs -= 1


@contextmanager
def playing(folders: Iterable[Path]) -> Iterator[None]:
    """The code of a strategy is at work in this thread. folders: of stores, whose files it must not open."""
    _here.is_playing, _here.folders = True, tuple(os.path.realpath(folder) for folder in folders)
    try:
        yield
    finally:
        _here.is_playing = False


def refuse_reading(what: str) -> None:
    """Raise `LookAheadError` if a strategy runs in this process, and it is not its run that reads."""
    if _is_isolated or (_runs and (_here.is_playing or not _here.runs)):
        raise _error(what)


def _error(what: str) -> LookAheadError:
    return LookAheadError(
        f"a strategy tried to {what} while it was running",
        tried=what,
        why="what it could learn in this way may lie behind the bar that it decides on",
        next_step="take it as an input, qmtl.StreamInput; what else reads can do so in a process of its own",
    )


def _watch() -> None:
    """Have Python tell us of operations. It does so for good: a hook cannot be taken away again."""
    global _is_watching
    if not _is_watching:
        sys.addaudithook(_audit)
        _is_watching = True


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _here.is_playing:
        return
    if event in _REFUSED:
        raise _error(_REFUSED[event])
    if event == "open" and isinstance(arguments[0], str | bytes) and _here.folders:
        place = os.path.realpath(os.fsdecode(arguments[0]))
        if any(place.startswith(folder + os.sep) for folder in _here.folders):
            raise _error("open a file of the store")
