"""Numbers as people write them."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 row`, `3,270 rows`. plural: of a noun that does not only add an s, such as `entries`."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
