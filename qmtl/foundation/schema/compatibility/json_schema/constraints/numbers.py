"""A number within bounds, perhaps an integer, perhaps on a grid."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, NamedTuple

from qmtl.foundation.schema.compatibility.json_schema.constraints.base import Constraints
from qmtl.foundation.schema.compatibility.json_schema.equality import is_finite, is_integer, key


class Bound(NamedTuple):
    """An end of a range; `is_open` where the limit itself does not belong to it."""

    limit: Any
    is_open: bool


class Numbers(Constraints):
    @cached_property
    def low(self) -> Bound | None:
        bounds = [Bound(v, key(v) in self.excluded) for v in self.stated("minimum")]
        bounds += [Bound(v, True) for v in self.stated("exclusiveMinimum")]
        return max(bounds, default=None)

    @cached_property
    def high(self) -> Bound | None:
        bounds = [Bound(v, key(v) in self.excluded) for v in self.stated("maximum")]
        bounds += [Bound(v, True) for v in self.stated("exclusiveMaximum")]
        return min(bounds, key=lambda bound: (bound.limit, not bound.is_open), default=None)

    @cached_property
    def integer(self) -> bool:
        return any(
            types == "integer" or (isinstance(types, list) and "integer" in types and "number" not in types)
            for types in self.stated("type")
        ) or any(is_integer(step) and not isinstance(step, float) for step in self.multiples)

    @cached_property
    def fractional(self) -> bool:
        return "integer" in self.denied("type")

    @cached_property
    def multiples(self) -> list[Any]:
        return list(self.stated("multipleOf"))

    @cached_property
    def not_multiples(self) -> list[Any]:
        return list(self.denied("multipleOf"))

    @cached_property
    def step(self) -> int | None:
        """All numbers are whole multiples of it; None where no whole step is known."""
        steps = [step for step in self.multiples if isinstance(step, int)]
        return math.lcm(*steps) if steps else (1 if self.integer else None)

    def is_empty(self) -> bool:
        """True where there is certainly no such number."""
        if self.integer and self.fractional:
            return True
        if self.low is None or self.high is None:
            return False
        (low, low_open), (high, high_open) = self.low, self.high
        if low > high or (low == high and (low_open or high_open)):
            return True
        if self.step is None or not (is_finite(low) and is_finite(high)):
            return False
        first = -(-math.ceil(low) // self.step) * self.step
        if first == low and low_open:
            first += self.step
        last = math.floor(high) // self.step * self.step
        if last == high and high_open:
            last -= self.step
        if last - first > 100 * self.step:
            return False
        return all(not self.admits(number) for number in range(first, last + 1, self.step))

    def admits(self, number: Any) -> bool:
        """Whether nothing excludes `number`; multiples of fractions are not looked at."""
        if self.low and (number < self.low.limit or (self.low.is_open and number == self.low.limit)):
            return False
        if self.high and (number > self.high.limit or (self.high.is_open and number == self.high.limit)):
            return False
        if (self.integer and not is_integer(number)) or (self.fractional and is_integer(number)):
            return False
        return (self.step is None or number % self.step == 0) and key(number) not in self.excluded
