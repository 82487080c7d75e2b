"""One claim per shard, in this process and across the processes of one machine.

A claim is a lock on a file of the store's directory. The kernel frees it when its holder dies, however
it dies, so that
no claim outlives its work and none needs a lifetime to be guessed.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from blake3 import blake3

from qmtl.foundation.errors import StoreError
from qmtl.foundation.series import SeriesId


class Claim:
    """A held shard; a context manager that frees it."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path

    def release(self) -> None:
        """Free the shard for others. Twice is once."""
        if self._descriptor >= 0:
            # Removed while still held: whoever locks the old file sees that its name is gone, and tries anew.
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Claims:
    """The claims of one store, in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def take(self, series: SeriesId, shard: int) -> Claim | None:
        """The claim on a shard, or None if somebody else holds it. Never waits. Raises `StoreError`."""
        name = blake3(f"{series}\0{shard}".encode()).hexdigest(16)
        path = self._directory / f"{name}.claim"
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as cause:
            raise StoreError(
                f"a backfill cannot be claimed in {self._directory}: {cause.strerror}",
                series=series,
                path=self._directory,
                next_step="make the store writable, or fetch with `strategy='FAIL_FAST'`",
            ) from cause
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            current = os.stat(path)
        except (BlockingIOError, FileNotFoundError):
            os.close(descriptor)
            return None
        if current.st_ino != os.fstat(descriptor).st_ino:
            os.close(descriptor)
            return None
        return Claim(descriptor, path)
