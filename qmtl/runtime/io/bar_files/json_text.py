"""JSON as a file has it; what nests beyond all measure is bad text, not a fault of the reader."""

from __future__ import annotations

import json
from typing import Any


def parsed(text: str | bytes, **options: Any) -> Any:
    """As `json.loads`. Raises `ValueError` for all that cannot be parsed, however deep it nests."""
    try:
        return json.loads(text, **options)
    except RecursionError as error:
        raise ValueError("it nests too deep") from error
