"""What the first bytes of a text tell of UTF-8, UTF-16 and UTF-32: by a mark, or by where zeros stand."""

from __future__ import annotations

import codecs
from typing import NamedTuple

_SEEN = 512


class Mark(NamedTuple):
    """A byte order mark. encoding: reads the text and takes the mark off. body: of what is behind it."""

    bytes: bytes
    encoding: str
    body: str


# That of UTF-32-LE begins with that of UTF-16-LE: the longer one is looked for first.
_MARKS = (
    Mark(codecs.BOM_UTF32_LE, "utf-32", "utf-32-le"),
    Mark(codecs.BOM_UTF32_BE, "utf-32", "utf-32-be"),
    Mark(codecs.BOM_UTF8, "utf-8-sig", "utf-8"),
    Mark(codecs.BOM_UTF16_LE, "utf-16", "utf-16-le"),
    Mark(codecs.BOM_UTF16_BE, "utf-16", "utf-16-be"),
)


def mark_of(head: bytes) -> Mark | None:
    """The mark at the start of a file, by its first four bytes or more."""
    return next((mark for mark in _MARKS if head.startswith(mark.bytes)), None)


def width_of(encoding: str) -> int:
    """How many bytes a character of a text of bars takes: 4 in UTF-32, 2 in UTF-16, 1 in all others."""
    name = codecs.lookup(encoding).name
    return 4 if name.startswith("utf-32") else 2 if name.startswith("utf-16") else 1


def by_zeros(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark; None if it is neither.

    Nine in ten characters have to be of Latin-1, as digits are: their zeros stand behind each of them in the
    little-endian forms, and before it in the others.
    """
    part = head[: len(head) // 4 * 4][:_SEEN]
    if not part:
        return None
    first, second, third, fourth = (part[place::4].count(0) * 40 >= len(part) * 9 for place in range(4))
    forms = {
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
    }
    return forms.get((first, second, third, fourth))
