"""What a server last said of its commits, and whether that will do for a request."""

from __future__ import annotations

from typing import NamedTuple


class Heard(NamedTuple):
    """An answer of the server.

    asked_at: in seconds, before the question was sent: when the server looked nobody knows, but not earlier.
    """

    version: int
    asked_at: float


def is_vouched(
    heard: Heard | None, version: int, *, now: float, max_staleness: float, committed_at: float
) -> bool:
    """Whether whoever has followed the commits up to `version` has all that were visible `max_staleness` ago.

    committed_at: when this process committed last; its own commits are seen at once.
    """
    if heard is None or heard.version != version:
        return False
    return heard.asked_at >= max(now - max_staleness, committed_at)
