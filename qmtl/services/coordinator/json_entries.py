"""Values as JSON, read and written; and what is said where each attempt to write one came too late."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from qmtl.foundation.errors import CoordinatorUnavailableError
from qmtl.services.coordinator.key_values import KeyValues

_PAGE = 500


def as_json(facts: Mapping[str, Any]) -> bytes:
    """Bytes of JSON. A claim of many shards is many of these, and Python's own encoder is slower."""
    return to_json(facts)


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
