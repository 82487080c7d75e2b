"""What a reader asks of a number."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.constraints.numbers import Bound, Numbers
from qmtl.foundation.schema.compatibility.json_schema.equality import is_finite, key
from qmtl.foundation.schema.compatibility.json_schema.instances.numbers import numbers
from qmtl.foundation.schema.compatibility.json_schema.node import SchemaNode
from qmtl.foundation.schema.compatibility.json_schema.proof.failure import Failure, plainly
from qmtl.foundation.schema.compatibility.json_schema.proof.prover import Answer, Prover
from qmtl.foundation.schema.compatibility.json_schema.proof.sentences import excerpt, shown

_LOWER = ("minimum", "exclusiveMinimum")
_UPPER = ("maximum", "exclusiveMaximum")


def _at_least(constraints: Numbers, limit: Any, *, is_open: bool) -> bool:
    return constraints.low is not None and _reaches(
        constraints, constraints.low, limit, is_open=is_open, rounded=math.ceil
    )


def _at_most(constraints: Numbers, limit: Any, *, is_open: bool) -> bool:
    return constraints.high is not None and _reaches(
        constraints,
        Bound(constraints.high.limit, constraints.high.is_open),
        limit,
        is_open=is_open,
        rounded=math.floor,
    )


def _reaches(
    constraints: Numbers, end: Bound, limit: Any, *, is_open: bool, rounded: Callable[[Any], int]
) -> bool:
    """Whether the end of the writer's range lies within the reader's limit."""
    sign = 1 if rounded is math.ceil else -1
    if sign * end.limit > sign * limit or (end.limit == limit and (end.is_open or not is_open)):
        return True
    if constraints.step is None or not is_finite(end.limit):
        return False
    count = rounded(end.limit) * sign
    outermost = -(-count // constraints.step) * constraints.step * sign
    while (outermost == end.limit and end.is_open) or key(outermost) in constraints.excluded:
        outermost += constraints.step * sign
    return sign * outermost > sign * limit or (outermost == limit and not is_open)


def _minimum(
    prover: Prover, constraints: Numbers, goal: SchemaNode, limit: Any, *, is_open: bool = False
) -> list[Failure]:
    if _at_least(constraints, limit, is_open=is_open):
        return []
    keyword, wants = ("exclusiveMinimum", "more than") if is_open else ("minimum", "at least")
    return [
        Failure(
            "json.minimum_raised",
            f"wants a number of {wants} {shown(limit)}",
            {keyword: limit},
            excerpt(constraints, "type", *_LOWER),
            plainly(
                lambda: (n for n in numbers(constraints, (limit,)) if n < limit or (is_open and n == limit))
            ),
        )
    ]


def _maximum(
    prover: Prover, constraints: Numbers, goal: SchemaNode, limit: Any, *, is_open: bool = False
) -> list[Failure]:
    if _at_most(constraints, limit, is_open=is_open):
        return []
    keyword, wants = ("exclusiveMaximum", "less than") if is_open else ("maximum", "at most")
    return [
        Failure(
            "json.maximum_lowered",
            f"wants a number of {wants} {shown(limit)}",
            {keyword: limit},
            excerpt(constraints, "type", *_UPPER),
            plainly(
                lambda: (n for n in numbers(constraints, (limit,)) if n > limit or (is_open and n == limit))
            ),
        )
    ]


def _multiple_of(prover: Prover, constraints: Numbers, goal: SchemaNode, step: Any) -> list[Failure]:
    if any(step == known and type(step) is type(known) for known in constraints.multiples):
        return []
    # Remainders of whole numbers are exact; those of fractions are not, and only instances can tell.
    if isinstance(step, int) and constraints.step is not None and constraints.step % step == 0:
        return []
    # A power of two divides without rounding, and whatever is too large for that is whole anyway.
    if isinstance(step, float) and constraints.step is not None and step.as_integer_ratio()[0] == 1:
        return []
    asked = goal.derive({"multipleOf": step})
    return [
        Failure(
            "json.multiple_of_narrowed",
            f"wants a multiple of {shown(step)}",
            {"multipleOf": step},
            excerpt(constraints, "type", "multipleOf"),
            plainly(lambda: (n for n in numbers(constraints, (step, 0.5)) if asked.accepts(n) is False)),
            unsure="whether all multiples stay multiples cannot be told of binary fractions",
        )
    ]


ANSWERS: dict[str, Answer] = {
    "minimum": _minimum,
    "exclusiveMinimum": lambda p, constraints, goal, limit: _minimum(
        p, constraints, goal, limit, is_open=True
    ),
    "maximum": _maximum,
    "exclusiveMaximum": lambda p, constraints, goal, limit: _maximum(
        p, constraints, goal, limit, is_open=True
    ),
    "multipleOf": _multiple_of,
}
