"""Leases of one machine: a locked file per shard, which the kernel frees when its holder dies.

However the holder dies, its leases end with it. So none of them needs a lifetime to be guessed.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from qmtl.foundation.errors import LeaseError, StoreError
from qmtl.foundation.leases import LeaseKey, ShardProgress
from qmtl.runtime.coordination.shard_leases import Claimed, Ended, Granted, Held, ShardRequest

# Each lease is an open file, and some systems allow a process no more than a few hundred. This is more than a
# year of minutes at a time.
MOST_AT_ONCE = 64

# A holder is not asked when it will be done; its lock is tried again after this long.
RETRY_AFTER_S = 0.05

_LARGEST_NOTE = 4_096


class LocalLeases:
    """A `ShardLeases` of the processes of one machine, with its files in `directory`.

    A file says who holds the lease and how far it is, for other workers that wait. Nothing is remembered of a
    lease that has ended, so `claim` never answers `Done`: who is granted a shard reads the store again.
    """

    most_at_once = MOST_AT_ONCE

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._held: dict[tuple[LeaseKey, str], _LockedFile] = {}

    async def claim(self, requests: Sequence[ShardRequest], *, claim_id: str) -> list[Claimed]:
        """See `ShardLeases.claim`. Raises `StoreError` if the directory cannot be written."""
        answers: list[Claimed] = []
        before = frozenset(self._held)
        try:
            for request in requests:
                answers.append(self._claim(request.key, claim_id))
        except BaseException:
            self._free(
                answer
                for answer in answers
                if isinstance(answer, Granted) and (answer.key, answer.claim_id) not in before
            )
            raise
        return answers

    def _claim(self, key: LeaseKey, claim_id: str) -> Claimed:
        if (key, claim_id) in self._held:
            return Granted(key, claim_id)
        path = self._directory / f"{blake3(str(key).encode()).hexdigest(16)}.lease"
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as cause:
            raise StoreError(
                f"a backfill cannot be claimed in {self._directory}: {cause.strerror}",
                series=key.series,
                path=self._directory,
                next_step="make the store writable, or fetch with `strategy='FAIL_FAST'`",
            ) from cause
        lock = _LockedFile(descriptor, path)
        if not lock.acquire():
            note = lock.note()
            lock.close()
            done, total = note.get("done"), note.get("total")
            progress = (
                ShardProgress(done, total) if isinstance(done, int) and isinstance(total, int) else None
            )
            return Held(key, str(note.get("holder", "another process")), progress, RETRY_AFTER_S)
        left = lock.note()  # whoever frees a lock takes its file away
        lock.write_note(key, claim_id)
        self._held[key, claim_id] = lock
        ended = Ended(str(left["holder"]), "its process has ended", None) if "holder" in left else None
        return Granted(key, claim_id, ended=ended)

    async def renew(self, grants: Sequence[Granted], progress: ShardProgress) -> None:
        # All of them first: where one is lost, nothing is written down for the others.
        for lock in [self._own(grant) for grant in grants]:
            lock.write_progress(progress)

    def still_held(self, grants: Sequence[Granted]) -> None:
        for grant in grants:
            self._own(grant)

    def lost(self, grants: Sequence[Granted]) -> None:
        return None

    async def complete(self, grants: Sequence[Granted], *, as_of: int) -> None:
        for grant in grants:
            self._own(grant)
        self._free(grants)

    async def fail(self, grants: Sequence[Granted], *, why: str, is_away: bool = False) -> None:
        self._free(grants)

    def _own(self, grant: Granted) -> _LockedFile:
        lock = self._held.get((grant.key, grant.claim_id))
        if lock is None:
            raise LeaseError(
                "the lease is not held by this claim",
                lease_key=str(grant.key),
                series=grant.key.series,
                next_step="claim the shard again if bars are still missing",
            )
        return lock

    def _free(self, grants: Iterable[Granted]) -> None:
        for grant in grants:
            lock = self._held.pop((grant.key, grant.claim_id), None)
            if lock is not None:
                lock.remove()


class _LockedFile:
    """An open file that may be locked; the lock ends with the descriptor."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path
        self._note: dict[str, object] = {}
        self._written = 0  # bytes

    def acquire(self) -> bool:
        """Lock it without waiting; whether that worked, and the file is still the one of its name."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            current = os.stat(self._path)
        except (BlockingIOError, FileNotFoundError):
            return False
        return current.st_ino == os.fstat(self._descriptor).st_ino

    def note(self) -> dict[str, object]:
        """What the holder wrote; empty where it has not written yet, or is writing now."""
        with suppress(ValueError):
            found = json.loads(os.pread(self._descriptor, _LARGEST_NOTE, 0))
            if isinstance(found, dict):
                return found
        return {}

    def write_note(self, key: LeaseKey, claim_id: str) -> None:
        """For those who wait; it is not needed for the lock, so that a full disk changes nothing."""
        holder = f"{socket.gethostname()}:{os.getpid()}"
        self._note = {"lease_key": str(key), "claim_id": claim_id, "holder": holder}
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)  # a holder that died left its note behind
            self._write(self._note)

    def write_progress(self, progress: ShardProgress) -> None:
        """Beside the note, once it is written."""
        with suppress(OSError):
            self._write(self._note | progress._asdict())

    def _write(self, note: dict[str, object]) -> None:
        # Blanks cover the end of a longer one: a backfill writes all its notes at each commit, and to cut the
        # files took longer than all else of that.
        text = json.dumps(note).encode().ljust(self._written)
        os.pwrite(self._descriptor, text, 0)
        self._written = len(text)

    def remove(self) -> None:
        # Removed while it is locked: a claim that locks the old file sees that its name is gone.
        self._path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        os.close(self._descriptor)
