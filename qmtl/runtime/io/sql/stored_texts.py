"""Texts that are kept as JSON: what nobody of ours has written is damage, and no error of Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from qmtl.foundation.errors import InvalidRequestError, StoreCorruptError

T = TypeVar("T")

# So much of a text is shown.
_SHOWN = 60


def read_text(text: str, what: str, meaning: Callable[[dict[str, Any]], T]) -> T:
    """What a text means. Raises `StoreCorruptError` for one that cannot be read, or means nothing.

    A folder proves each row by a checksum; on a server anybody with the right to write can edit one.
    """
    try:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise TypeError(f"it is a {type(found).__name__}, and not an object")
        return meaning(found)
    except (ValueError, TypeError, KeyError, AttributeError, InvalidRequestError) as error:
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        raise StoreCorruptError(
            f"{what} cannot be read",
            why=f"the store has {shown!r}: {error}",
            next_step="change it back, or bring the store back from a backup",
        ) from error
