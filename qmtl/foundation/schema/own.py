"""The bundle of schemas that this package brings, and that a checkout shows as schemas/v1: the same files."""

from __future__ import annotations

from pathlib import Path

OWN = Path(__file__).parent / "canonical_schemas" / "v1"
