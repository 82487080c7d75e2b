"""The audit log as a file: one appender at a time, durable before it answers, its end anchored elsewhere."""

from __future__ import annotations

import fcntl
import json
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from platformdirs import user_state_path

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.durable import make_durable
from qmtl.foundation.errors import AuditLogError, InvalidRequestError, StoreError, StoreLockedError
from qmtl.foundation.schema.governance.audit import Anchor, Entry, Event, Verification, read, seal, verify
from qmtl.foundation.times import iso

_PAUSE_S = 0.002


class AuditAnchorWarning(UserWarning):
    """An entry is in the log, but where the log ends now could not be kept outside it."""


class AuditLog:
    """An append-only file of entries, `schemas/audit_log.jsonl` in a checkout.

    anchors: the folder that keeps where each log of this user ended; by default in the user's state folder.
    lock_timeout_s: how long an append waits for others before `StoreLockedError`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        anchors: Path | None = None,
        clock: Clock | None = None,
        lock_timeout_s: float = 10.0,
    ) -> None:
        self.path = Path(path)
        self._clock = clock or SystemClock()
        self._lock_timeout_s = lock_timeout_s
        folder = user_state_path("qmtl", appauthor=False) / "audit" if anchors is None else anchors
        # By its path, so that another log put in its place is checked against the same anchor.
        name = sha256(os.fsencode(self.path.resolve())).hexdigest()[:32]
        self.anchor_path = folder / f"{name}.json"

    def verify(self, kept: Anchor | None = None) -> Verification:
        """Check every entry, and the end against the anchor and against `kept`, an anchor from elsewhere.

        Raises `InvalidRequestError` if there is no log and no sign that there ever was one.
        """
        anchors = self._anchors(kept)
        try:
            with self._locked(os.O_RDONLY, fcntl.LOCK_SH) as descriptor:
                return verify(read(_all_of(descriptor)), anchors)
        except FileNotFoundError:
            if not anchors:
                raise InvalidRequestError(
                    f"there is no audit log {self.path}",
                    next_step="name another with --log FILE, or begin it with 'qmtl schema audit note'",
                ) from None
            return verify(read(b""), anchors)

    def refuse_broken(self) -> None:
        """Raise what `append` would raise for a log that does not hold."""
        if self.path.exists() and not (found := self.verify()).is_intact:
            raise self.broken(found)

    def append(self, event: Event) -> Entry:
        """Durable when it returns. Raises `AuditLogError` rather than build on a log that is broken."""
        return self._append(event, repairing=False)

    def repair(self, note: str = "") -> Entry | None:
        """Put an entry in the place of a torn last line, which it quotes; None where nothing is torn."""
        if not self.verify().torn:
            return None
        return self._append(Event("repair", note=note), repairing=True)

    def _append(self, event: Event, *, repairing: bool) -> Entry:
        with self._opening():
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked(os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX) as descriptor:
            data = _all_of(descriptor)
            found = verify(read(data), self._anchors())
            if found.problems or (found.torn and not repairing):
                raise self.broken(found)
            if repairing:
                event = Event("repair", note=event.note, evidence={"torn": found.torn.decode("latin-1")})
            entry = seal(event, iso(self._clock.now()), found.entries[-1] if found.entries else None)
            self._write(descriptor, entry.line, at=len(data) - len(found.torn), before=data)
            self._keep(Anchor(entry.number, entry.hash))
        return entry

    def _write(self, descriptor: int, line: bytes, *, at: int, before: bytes) -> None:
        """All of the line, or the file as it was. An entry in place of a torn line is longer than it."""
        try:
            done = 0
            while done < len(line):
                done += os.pwrite(descriptor, line[done:], at + done)
            os.fsync(descriptor)
            make_durable(self.path.parent)
        except OSError as failure:
            os.pwrite(descriptor, before[at:], at)
            os.ftruncate(descriptor, len(before))
            raise StoreError(
                "the entry could not be appended to the audit log",
                path=self.path,
                why=str(failure),
                next_step="free some space and repeat; nothing was appended",
            ) from failure

    def broken(self, found: Verification) -> AuditLogError:
        """The error for a log that does not hold."""
        next_step = "'qmtl schema audit repair' puts an entry in its place that quotes it"
        if found.problems:
            next_step = "bring the file back from version control or a backup"
            if self.anchor_path.exists():
                next_step += f"; if it was replaced on purpose, remove the anchor {self.anchor_path}"
        why = "; ".join(found.problems) or found.conclusion
        return AuditLogError(
            f"the audit log {self.path} does not hold",
            path=self.path,
            problems=(*found.problems, *([found.conclusion] if found.torn and not found.problems else [])),
            why=why,
            next_step=next_step,
        )

    # The anchor

    def _anchors(self, kept: Anchor | None = None) -> list[Anchor]:
        anchors = [] if kept is None else [kept]
        try:
            anchor = json.loads(self.anchor_path.read_text(encoding="utf-8"))
            anchors.append(Anchor(int(anchor["number"]), str(anchor["hash"])))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as failure:
            raise StoreError(
                "where the audit log ended cannot be read",
                path=self.anchor_path,
                why=str(failure),
                next_step="remove that file; the end is not anchored then, until the next entry",
            ) from failure
        return anchors

    def _keep(self, anchor: Anchor) -> None:
        text = json.dumps({"log": str(self.path.resolve()), **anchor._asdict()})
        temporary = self.anchor_path.with_suffix(f".{os.getpid()}")
        try:
            self.anchor_path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8") as file:
                file.write(f"{text}\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.anchor_path)
            make_durable(self.anchor_path.parent)
        except OSError as failure:
            # The entry stands already; to raise now would make people append it again.
            warnings.warn(
                f"the audit log has entry {anchor.number}, but its end could not be anchored: {failure}",
                AuditAnchorWarning,
                stacklevel=4,
            )

    # The lock

    @contextmanager
    def _locked(self, flags: int, kind: int) -> Iterator[int]:
        """The file, under its own lock, and still the one at that path."""
        deadline = time.monotonic() + self._lock_timeout_s
        while True:
            with self._opening():
                descriptor = os.open(self.path, flags | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                # Version control replaces files; a lock on the replaced one would not guard the new one.
                if self._is_current(descriptor):
                    yield descriptor
                    return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise StoreLockedError(
                        f"the audit log has been locked for {self._lock_timeout_s:g} s",
                        path=self.path,
                        next_step="wait until the other process ends, or end it; the lock goes with it",
                    ) from None
            finally:
                os.close(descriptor)
            time.sleep(_PAUSE_S)

    @contextmanager
    def _opening(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as failure:
            raise StoreError(
                "the audit log cannot be opened",
                path=self.path,
                why=str(failure),
                next_step="give this user the right to read and write it",
            ) from failure

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False


def _all_of(descriptor: int) -> bytes:
    parts = []
    place = 0
    while part := os.pread(descriptor, 1 << 20, place):
        parts.append(part)
        place += len(part)
    return b"".join(parts)
