"""One writer at a time: a lock that dies with the process that holds it."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.errors import StoreError, StoreLockedError

_FIRST_PAUSE = 0.0002
_LONGEST_PAUSE = 0.002


class CommitLock:
    """An exclusive `flock` on a file, among threads and processes of one machine. Not re-entrant.

    The kernel frees it when its holder dies, so there are no stale locks. The file tells who took it last.
    """

    def __init__(self, path: Path, *, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._threads = threading.Lock()
        self._file: tuple[int, int] | None = None  # descriptor, and the process that opened it

    @contextmanager
    def held(self, timeout_s: float | None = None) -> Iterator[None]:
        """Hold the lock. Raises `StoreLockedError` after the time-out."""
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        deadline = SystemClock.monotonic() + timeout_s
        if not self._threads.acquire(timeout=timeout_s):
            raise self._locked(timeout_s)
        try:
            descriptor = self._descriptor()
            self._acquire(descriptor, deadline, timeout_s)
            try:
                yield
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            self._threads.release()

    def close(self) -> None:
        """Close the file; the lock may be held again later."""
        with self._threads:
            if self._file is not None and self._file[1] == os.getpid():
                os.close(self._file[0])
            self._file = None

    def _descriptor(self) -> int:
        # A descriptor inherited by fork would share the lock with the parent.
        if self._file is None or self._file[1] != os.getpid():
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except OSError as failure:
                raise StoreError(
                    "the lock of the store cannot be opened",
                    path=self._path.parent,
                    why=str(failure),
                    next_step=f"give this user the right to write {self._path.name}",
                ) from failure
            self._file = (descriptor, os.getpid())
        return self._file[0]

    def _acquire(self, descriptor: int, deadline: float, timeout_s: float) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if SystemClock.monotonic() >= deadline:
                    raise self._locked(timeout_s) from None
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)
            else:
                os.pwrite(descriptor, f"{socket.gethostname()} process {os.getpid()}".ljust(96).encode(), 0)
                return

    def _locked(self, timeout_s: float) -> StoreLockedError:
        try:
            holder = self._path.read_text(errors="replace").strip() or "an unknown process"
        except OSError as failure:
            holder = f"an unknown process ({failure})"
        return StoreLockedError(
            f"the store has been locked for {timeout_s:g} s",
            path=self._path.parent,
            why=f"{holder} holds it",
            next_step="wait until that process ends, or end it; the lock goes with it",
        )
