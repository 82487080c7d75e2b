"""Which warnings somebody has looked at and accepted, bar by bar."""

from __future__ import annotations

from typing import NamedTuple


class Accepted(NamedTuple):
    """A bar (for a rule of frequency: a span) whose warning was accepted, and what it held then."""

    rule: str
    start: int
    end: int
    fingerprint: str
