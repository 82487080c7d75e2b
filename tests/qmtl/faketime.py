"""Programs whose wall clock a test sets: libfaketime reads it from a file at each question.

It stands before the C library, and so has no effect on programs that ask the kernel themselves, as all
programs in Go do: etcd among them.
"""

from __future__ import annotations

from pathlib import Path

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


def faked(clock: Path) -> dict[str, str]:
    """The environment of a program whose wall clock is that of the file; `set_offset` it first."""
    return {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def set_offset(clock: Path, seconds: int) -> None:
    """Clocks that follow this file are so many seconds off. Each user of the machine may read it."""
    new = clock.with_suffix(".new")
    new.write_text(f"{seconds:+}")
    new.chmod(0o644)
    new.replace(clock)
