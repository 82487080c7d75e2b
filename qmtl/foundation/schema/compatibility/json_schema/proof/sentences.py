"""Pieces of the sentences in which a problem is told."""

from __future__ import annotations

import json
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.facts.known import Known
from qmtl.foundation.schema.compatibility.json_schema.place import Place

_LONGEST = 120


def shown(value: Any) -> str:
    """A JSON value as a person reads it; a long one is cut."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def listed(values: Any) -> str:
    return ", ".join(shown(value) for value in values)


def said(facts: Known, *keywords: str) -> dict[str, Any] | None:
    """What the writer's schema says under `keywords`, for the problem's own record."""
    found: dict[str, Any] = {}
    for keyword in keywords:
        for value in facts.said(keyword):
            found.setdefault(keyword, _written(value))
    return found or None


def _written(argument: Any) -> Any:
    """A keyword's argument as the document has it, with values in the stead of places."""
    match argument:
        case Place():
            return argument.value
        case list():
            return [_written(one) for one in argument]
        case dict():
            return {name: _written(one) for name, one in argument.items()}
    return argument
