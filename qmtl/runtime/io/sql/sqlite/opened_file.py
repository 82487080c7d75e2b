"""Whether a store is still the one that was opened: its folder may be moved, removed or replaced."""

from __future__ import annotations

import os
from pathlib import Path

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.errors import StoreError

# Answers from a cache look so often. To look takes as long as a tenth of such an answer.
_LOOKS_EVERY_S = 0.05


class OpenedFile:
    """The file of a store, known by its number in the file system.

    SQLite goes on with the file that a connection has opened, wherever that is by then, and new connections
    meet what lies in its place: bars of two stores would be mixed, and others written where nobody looks.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._shown = str(path), path
        self._number: tuple[int, int] | None = None
        self._looks_again_at = 0.0

    def remember(self) -> None:
        """Take the file that is there now for the one that was opened."""
        self._number = self._there()

    @property
    def is_there(self) -> bool:
        """Whether it is in its place, as far as anybody can tell."""
        try:
            return self._number is None or self._there() == self._number
        except OSError:
            return False

    def refuse_another(self) -> None:
        """Raise `StoreError` if another file is in its place, or none."""
        if self._number is None:
            return  # it may still be made
        try:
            if self._there() == self._number:
                return
            what, why = "was replaced", f"{self._shown.name} is another file than the one that was opened"
        except OSError as failure:
            what, why = "is gone", str(failure)
        raise StoreError(
            f"the store {what} while it was open",
            path=self._shown.parent,
            why=why,
            next_step="close it and open it again; what was read and written here belongs to the one that was"
            " opened, wherever that is now",
        )

    def glance(self) -> None:
        """The same, for those who ask all the time: now and then."""
        now = SystemClock.monotonic()
        if now >= self._looks_again_at:
            self._looks_again_at = now + _LOOKS_EVERY_S
            self.refuse_another()

    def _there(self) -> tuple[int, int]:
        found = os.stat(self._path)
        return found.st_dev, found.st_ino
