"""Values as JSON, read and written; and what is said where each attempt to write one came too late."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qmtl.foundation.errors import CoordinatorUnavailableError
from qmtl.services.coordinator.key_values import KeyValues

_PAGE = 500


# Made once: to make an encoder takes as long as to write a small value.
_encode = json.JSONEncoder(separators=(",", ":")).encode


def as_json(facts: Mapping[str, Any]) -> bytes:
    return _encode(facts).encode()


async def all_of(keys: KeyValues, prefix: str, *, after: str = "") -> list[tuple[str, dict[str, Any], int]]:
    """Names behind the prefix, values and revisions, in order; only those behind the key `after`."""
    found: list[tuple[str, dict[str, Any], int]] = []
    while page := await keys.page(prefix, after=after, most=_PAGE):
        found += [(key.removeprefix(prefix), json.loads(entry.value), entry.revision) for key, entry in page]
        after = page[-1][0]
        if len(page) < _PAGE:
            break
    return found


def contended(keys: KeyValues, tries: int) -> CoordinatorUnavailableError:
    return CoordinatorUnavailableError(
        "what is kept was changed by others each time that it was to be changed",
        url=type(keys).__name__,
        why=f"{tries} attempts in a row came too late",
        next_step="ask again",
    )
