"""How large an instance may be: whoever shows it, confirms it and reads it has to walk through all of it."""

from __future__ import annotations

from typing import Any

# Values within an instance; a hundred characters of text count as one more.
MOST_VALUES = 20_000
_CHARACTERS = 100


def is_small(value: Any) -> bool:
    """Whether an instance has no more than `MOST_VALUES` values. Looks at no more than these."""
    left = MOST_VALUES
    waiting = [value]
    while waiting:
        one = waiting.pop()
        left -= 1
        if isinstance(one, str):
            left -= len(one) // _CHARACTERS
        elif isinstance(one, list | dict):
            waiting += one.values() if isinstance(one, dict) else one
        if left < len(waiting):
            return False
    return True
