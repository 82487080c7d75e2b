"""Whether a name may be a typing error for another, where a wrong guess would cost data."""

from __future__ import annotations

from collections.abc import Iterable

# Shorter names lie one edit from many others.
_LONG_ENOUGH = 4


def near(typed: str, known: Iterable[str]) -> list[str]:
    """The known names that differ from `typed` in capitals alone; else, in at most one edit.

    An edit adds, drops or changes a character, or exchanges two neighbours. Known names of fewer than four
    characters are near in their capitals only.
    """
    names = sorted(set(known))
    folded = typed.strip().casefold()
    same = [name for name in names if name.casefold() == folded]
    return same or [
        name for name in names if len(name) >= _LONG_ENOUGH and _one_edit(folded, name.casefold())
    ]


def _one_edit(a: str, b: str) -> bool:
    if len(a) > len(b):
        a, b = b, a
    first = next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    rest_a, rest_b = a[first:], b[first:]
    if len(a) < len(b):
        return rest_a == rest_b[1:]
    return rest_a[1:] == rest_b[1:] or (rest_a[:2] == rest_b[1::-1] and rest_a[2:] == rest_b[2:])
