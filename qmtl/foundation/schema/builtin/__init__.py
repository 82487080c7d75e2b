"""The schemas that this package brings, and that a checkout shows as schemas/v1: the same files."""

from __future__ import annotations

from pathlib import Path

BUILTIN = Path(__file__).parent / "v1"
