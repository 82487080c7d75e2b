"""When two JSON values are the same value: 1 and 1.0 are, 1 and true are not."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable
from typing import Any

_FAR = 2**53


def key(value: Any) -> Hashable:
    """Equal for equal JSON values, as JSON Schema compares them (section 4.2.2 of its core)."""
    match value:
        case bool() | None:
            return ("literal", value)
        case int() | float():
            return ("number", value)
        case str():
            return value
        case list():
            return ("array", tuple(key(item) for item in value))
        case dict():
            return ("object", frozenset((name, key(item)) for name, item in value.items()))
    raise TypeError(f"not a JSON value: {value!r}")


def type_of(value: Any) -> str:
    """The JSON type of a value; every number is a `number`."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def is_integer(value: Any) -> bool:
    """Whether a number has no fraction: 1.0 is an integer."""
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def is_finite(value: int | float) -> bool:
    """Whether a number is no infinity; integers may be larger than any float."""
    return isinstance(value, int) or math.isfinite(value)


def has_type(value: Any, name: str) -> bool:
    """Whether `value` has the type that JSON Schema calls `name`."""
    kind = type_of(value)
    return kind == name or (name == "integer" and kind == "number" and is_integer(value))


def shortness(value: Any) -> tuple[int, float]:
    """Orders values: those of the shortest text first, and of numbers those nearest to zero."""
    # A number of more digits than a float holds is still longer than any other.
    near = float(abs(value)) if type(value) is float or (type(value) is int and -_FAR < value < _FAR) else 0.0
    return len(repr(value)), near


def text_of(value: Any) -> str:
    """The same text for the same schema, whatever the order of its keys; 1 and 1.0 differ."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
