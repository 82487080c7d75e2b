"""JSON as Jackson prints it, the library with which Confluent's registry and Avro for Java read and write.

So a schema that is answered here has the same text as there. A `float` stands for Java's double, a `Decimal`
for Java's BigDecimal, which keeps the digits that were written.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

_SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPED = re.compile(r'["\\\x00-\x1f]')


def printed(value: Any) -> str:
    """Without space outside of strings; the names of objects in the order in which they stand."""
    match value:
        case dict():
            return "{" + ",".join(f"{_text(name)}:{printed(one)}" for name, one in value.items()) + "}"
        case list():
            return "[" + ",".join(map(printed, value)) + "]"
        case str():
            return _text(value)
        case bool() | None:
            return {True: "true", False: "false", None: "null"}[value]
        case float():
            return _double(value)
        case Decimal():
            # A BigDecimal has no zero below zero.
            return str(value if value else value.copy_abs())
        case int():
            return str(value)
    raise TypeError(f"{type(value).__name__} is no type of a JSON value")


def _text(value: str) -> str:
    return '"' + _ESCAPED.sub(_escape, value) + '"'


def _escape(found: re.Match[str]) -> str:
    return _SHORT.get(found[0]) or f"\\u{ord(found[0]):04X}"


def _double(value: float) -> str:
    """As `Double.toString` of Java 19 and later: the shortest digits that give the same double."""
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        plain = f"{Decimal(repr(value)):f}"
        return plain if "." in plain else f"{plain}.0"
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    assert isinstance(exponent, int)  # it is a number
    all_digits = "".join(map(str, digits))
    first, rest = all_digits[0], all_digits[1:].rstrip("0") or "0"
    return f"{'-' if sign else ''}{first}.{rest}E{exponent + len(all_digits) - 1}"
