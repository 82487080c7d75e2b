"""Numbers as people write them."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """`1 row`, `3,270 rows`. The noun is one of those that only add an s."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
