"""A wall clock that is moved by hand, so that history grows old at once."""

from __future__ import annotations

from qmtl.foundation.clock import SystemClock


class HandClock(SystemClock):
    def __init__(self) -> None:
        self.time = 1_000

    def now(self) -> int:  # type: ignore[override]  # a static method in the original
        return self.time
