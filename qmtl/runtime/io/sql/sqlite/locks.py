"""One writer at a time, nobody while a store is replaced; the locks die with the process that holds them."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from zlib import crc32

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.errors import StoreError, StoreLockedError

_FIRST_PAUSE = 0.0002
_LONGEST_PAUSE = 0.002
# Where the lock's file names who took it last, and where, behind that, which commit was the newest.
_HOLDER_BYTES = 96
_NEWEST_AT = 128
_NEWEST = re.compile(rb"commit (\d{20}) ([0-9a-f]{8})\n")

_log = logging.getLogger("seamless.store")


def newest_commit(path: Path) -> int | None:
    """The newest commit that was durable when the lock's file was last written; None if it does not say.

    It is written after each commit and never waited for. So it may be behind after a crash, which proves
    nothing; but a store that lacks a commit which stands here has lost it. Raises `OSError` but for a file
    that is not there.
    """
    try:
        with path.open("rb") as file:
            file.seek(_NEWEST_AT)
            found = _NEWEST.fullmatch(file.read(64))
    except FileNotFoundError:
        return None
    return int(found[1]) if found is not None and int(found[2], 16) == crc32(found[1]) else None


class UseLock:
    """Held by all who have a store open, so that nobody replaces it under them. On the directory itself."""

    def __init__(self, folder: Path, *, alone: bool = False, timeout_s: float) -> None:
        """With `alone`, raise `StoreLockedError` if anybody uses the store; else if it is being replaced."""
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        deadline = SystemClock.monotonic() + timeout_s
        try:
            try:
                had = _acquired(self._descriptor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, deadline)
            except OSError:
                # Some file systems lock no directories: there nobody is seen, so that nobody may replace.
                if alone:
                    raise
                had = True
            if not had:
                raise StoreLockedError(
                    "the store is in use" if alone else f"the store has been locked for {timeout_s:g} s",
                    path=folder,
                    why="other programs, or other parts of this one, have it open"
                    if alone
                    else "another process is replacing it (`qmtl store restore`)",
                    next_step="end them and repeat" if alone else "wait until that process ends",
                )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Free the lock; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _acquired(descriptor: int, how: int, deadline: float) -> bool:
    """Whether a `flock` was had before the deadline."""
    pause = _FIRST_PAUSE
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if SystemClock.monotonic() >= deadline:
                return False
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        else:
            return True


@lru_cache(maxsize=1)
def _holder(process: int) -> bytes:
    """Who takes the lock, as its file names it."""
    return f"{socket.gethostname()} process {process}".ljust(_HOLDER_BYTES).encode()[:_HOLDER_BYTES]


class CommitLock:
    """An exclusive `flock` on a file, among threads and processes of one machine. Not re-entrant.

    The kernel frees it when its holder dies, so there are no stale locks. The file names who took it last.
    """

    def __init__(self, path: Path, *, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._threads = threading.Lock()
        self._file: tuple[int, int] | None = None  # descriptor, and the process that opened it

    @contextmanager
    def acquired(self, timeout_s: float | None = None) -> Iterator[None]:
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
        """Close the file; the lock may be acquired again later."""
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
        if not _acquired(descriptor, fcntl.LOCK_EX, deadline):
            raise self._locked(timeout_s)
        os.pwrite(descriptor, _holder(os.getpid()), 0)

    def note(self, tx: int) -> None:
        """Write down the newest commit, once it is durable. Only while the lock is held."""
        number = b"%020d" % tx
        try:
            os.pwrite(self._descriptor(), b"commit %s %08x\n" % (number, crc32(number)), _NEWEST_AT)
        except OSError as failure:
            # The commit itself is durable; without this line its loss would go unnoticed, no more.
            _log.warning("the newest commit could not be noted: %s", failure)

    def _locked(self, timeout_s: float) -> StoreLockedError:
        try:
            text = self._path.read_bytes()[:_HOLDER_BYTES].decode(errors="replace")
            holder = text.strip("\0 \n") or "an unknown process"
        except OSError as failure:
            holder = f"an unknown process ({failure})"
        return StoreLockedError(
            f"the store has been locked for {timeout_s:g} s",
            path=self._path.parent,
            why=f"{holder} holds it",
            next_step="wait until that process ends, or end it; the lock goes with it",
        )
