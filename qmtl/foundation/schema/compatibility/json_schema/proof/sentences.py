"""Pieces of the sentences that describe a problem."""

from __future__ import annotations

import json
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.constraints.base import Constraints
from qmtl.foundation.schema.compatibility.json_schema.node import SchemaNode

_LONGEST = 120


def shown(value: Any) -> str:
    """A JSON value as a person reads it; a long one is cut."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def amount(count: Any, noun: str, plural: str | None = None) -> str:
    """`1 item`, `2 items`; the number as JSON has it. plural: of a noun that does not only add an s."""
    return f"{shown(count)} {noun if count == 1 else plural or f'{noun}s'}"


def listed(values: Any) -> str:
    return ", ".join(shown(value) for value in values)


def excerpt(constraints: Constraints, *keywords: str) -> dict[str, Any] | None:
    """The part of the writer's schema under `keywords`, for the record of a problem."""
    found: dict[str, Any] = {}
    for keyword in keywords:
        for value in constraints.stated(keyword):
            found.setdefault(keyword, _written(value))
    return found or None


def _written(argument: Any) -> Any:
    """A keyword's argument as the document has it, with values in place of nodes."""
    match argument:
        case SchemaNode():
            return argument.value
        case list():
            return [_written(one) for one in argument]
        case dict():
            return {name: _written(one) for name, one in argument.items()}
    return argument
