"""Sets of characters as regular expressions name them, and an alphabet small enough to search."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}
# Pleasant characters first: a counterexample is read by people.
_ASCII = string.ascii_lowercase + string.digits + string.ascii_uppercase
_ASCII += "".join(chr(code) for code in range(32, 127) if chr(code) not in _ASCII) + "\n"
_ASCII += "".join(chr(code) for code in range(128) if chr(code) not in _ASCII)
# One of each kind that the categories distinguish beyond ASCII: digit, letter, space, other; and a second.
_BEYOND = ("٣é\u2003€", "٤ö\u2002£", "٥ü\u2004¥")
_WIDEST_RANGE = 2_000


class TooManyCharactersError(Exception):
    """A class of characters beyond ASCII is too wide to be looked at one by one."""


@dataclass(frozen=True, slots=True)
class Characters:
    """Some single characters, ranges (both ends included) and categories, or everything but those."""

    ranges: tuple[tuple[int, int], ...] = ()
    categories: tuple[str, ...] = ()
    negated: bool = False

    def __contains__(self, character: str) -> bool:
        code = ord(character)
        inside = any(low <= code <= high for low, high in self.ranges) or any(
            _in_category(name, character) for name in self.categories
        )
        return inside is not self.negated


ANYTHING = Characters(negated=True)
NOT_A_NEWLINE = Characters(ranges=((10, 10),), negated=True)


@cache
def _in_category(name: str, character: str) -> bool:
    return re.match(_CATEGORIES[name], character) is not None


def alphabet(sets: Iterable[Characters]) -> list[str]:
    """One character for each way in which `sets` distinguish characters.

    Raises `TooManyCharactersError` where that cannot be decided exactly.
    """
    known = list(dict.fromkeys(sets))
    mentioned = set(_mentioned_beyond_ascii(known))
    kinds = zip(*_BEYOND, strict=True)
    unmentioned = [next((one for one in kind if one not in mentioned), "") for kind in kinds]
    if not all(unmentioned):
        raise TooManyCharactersError
    chosen: dict[tuple[bool, ...], str] = {}
    for character in [*_ASCII, *sorted(mentioned), *unmentioned]:
        # A newline stays apart: `$` lets one stand behind it.
        signature = (character == "\n", *(character in one for one in known))
        chosen.setdefault(signature, character)
    return list(chosen.values())


def _mentioned_beyond_ascii(sets: list[Characters]) -> Iterator[str]:
    for low, high in {pair for one in sets for pair in one.ranges if pair[1] > 127}:
        start = max(low, 128)
        if high - start > _WIDEST_RANGE:
            raise TooManyCharactersError
        yield from map(chr, range(start, high + 1))
