"""Numbers on and beside the limits of both sides."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.constraints.numbers import Numbers
from qmtl.foundation.schema.compatibility.json_schema.equality import is_finite

_MOST_STEPS = 400
# Beyond it floats have no fractions, and farther on there are no floats.
_LARGEST = 2**53


def numbers(constraints: Numbers, marks: Iterable[Any] = ()) -> Iterator[Any]:
    """Numbers that `constraints` admit, those around `marks` first; each once."""
    met = set()
    for number in _around(constraints, list(marks)):
        plain = (
            int(number)
            if isinstance(number, float) and number.is_integer() and abs(number) <= _LARGEST
            else number
        )
        if plain not in met and is_finite(number) and constraints.admits(plain):
            met.add(plain)
            yield plain


def _around(constraints: Numbers, marks: list[Any]) -> Iterator[Any]:
    ends = [end.limit for end in (constraints.low, constraints.high) if end is not None]
    centers = [*marks, *ends, 0]
    large = [center for center in centers if abs(center) > _LARGEST]
    yield from (center + change for center in large for change in (0, 1, -1))
    centers = [center for center in centers if abs(center) <= _LARGEST]
    for step in constraints.multiples:
        for mark in centers:
            whole = _whole(mark / step)
            yield from (_times(step, count) for count in (whole, whole + 1, whole - 1, whole + 2, whole - 2))
    for center in centers:
        yield center
        yield from (center + 1, center - 1)
        # JSON numbers of people have few digits.
        yield from (round(center + part, 6) for part in (0.5, -0.5, 0.1, -0.1, 0.01, -0.01, 0.001, -0.001))
        yield from (math.nextafter(center, math.inf), math.nextafter(center, -math.inf))
    if constraints.low is not None and constraints.high is not None and not large:
        yield (constraints.low.limit + constraints.high.limit) / 2
    yield from range(2, 20)
    for step in constraints.multiples:
        start = _whole(constraints.low.limit / step) if constraints.low is not None and not large else 0
        yield from (_times(step, start + count) for count in range(_MOST_STEPS))
    yield from (center + count for center in centers for count in range(-10, 11))


def _whole(number: float) -> int:
    return math.floor(number) if math.isfinite(number) else 0


def _times(step: Any, count: int) -> Any:
    return step * count if isinstance(step, int) else float(f"{step * count:.12g}")
