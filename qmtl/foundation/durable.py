"""What outlives a loss of power."""

from __future__ import annotations

import os
from pathlib import Path


def make_durable(place: Path) -> None:
    """Let what a file holds, or which names a folder has, outlive a loss of power. Raises `OSError`."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
