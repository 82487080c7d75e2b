"""How long an answer takes to settle, and how long an absence holds."""

from __future__ import annotations

from typing import NamedTuple


class SettlementPolicy(NamedTuple):
    """Waiting times that decide what an answer proves, in seconds."""

    settle: float = 60.0
    absent_expiry: float = 24 * 3600.0
