"""JSON text read strictly, and written so that equal values give equal text."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal, InvalidOperation
from typing import Any

# Values are walked by recursion, here and in the libraries that check schemas. So deep a value is no
# schema that a person wrote, and still leaves room on the stack of an ordinary thread.
MAX_DEPTH = 100

# Whole strings (also one that never ends, so that the search never starts inside of it), and brackets.
_STEPS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)
_LONG = 400  # digits; no double has more before its point


def parse(text: str, *, exact: bool = False) -> Any:
    """The value of a JSON text (RFC 8259).

    exact: a number with a point or an exponent is a `Decimal` with the digits that were written, not a float.

    Stricter than the standard library, so that a text means one thing only: no name twice in an object, no
    NaN or infinity, no number beyond a double or an integer of over 400 digits, no half of a surrogate pair,
    and at most `MAX_DEPTH` levels. Raises `ValueError`, which says what and where.
    """
    _refuse_depth(text)
    value = json.loads(
        text,
        object_pairs_hook=_each_name_once,
        parse_constant=_no_constant,
        parse_float=_exact if exact else _finite,
        parse_int=_integer,
    )
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        raise ValueError("a string holds half of a surrogate pair, which is no Unicode text") from None
    return value


def in_order(value: Any) -> Any:
    """The same value, with the names of each object in the order of their code points."""
    if isinstance(value, dict):
        return {name: in_order(value[name]) for name in sorted(value)}
    return [in_order(one) for one in value] if isinstance(value, list) else value


def ordered(value: Any) -> str:
    """Without space outside of strings, the names of each object in the order of their code points.

    The order of names has no meaning in JSON; that of an array has, and is kept. A number keeps its kind: 1
    and 1.0 are two values here.
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _refuse_depth(text: str) -> None:
    depth = 0
    for step in _STEPS.finditer(text):
        first = step[0][0]
        if first in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
        elif first in "]}":
            depth -= 1


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} is given twice in one object")
    return result


def _no_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON value")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text[:40]} is beyond a double")
    return number


def _exact(text: str) -> Decimal:
    _finite(text)
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"the number {text[:40]} has an exponent beyond 18 digits") from None


def _integer(text: str) -> int:
    if len(text) > _LONG:
        raise ValueError(f"an integer has {len(text)} digits")
    return int(text)
