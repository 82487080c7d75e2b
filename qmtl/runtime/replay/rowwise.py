"""Which expressions give each row of a frame what that row alone gives: they may be worked out all at once.

Only operations that are known to be so count. polars writes expressions as JSON, in a form that other
versions may change: what is not understood is not row-wise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import polars as pl

# An expression, as polars writes it.
Written: TypeAlias = Any

_OPERATORS = {
    *("Eq", "NotEq", "Lt", "LtEq", "Gt", "GtEq"),
    *("Plus", "Minus", "Multiply", "TrueDivide"),
    *("And", "Or", "Xor", "LogicalAnd", "LogicalOr"),
}
# polars multiplies a column by the reciprocal of a number, and divides where the column has one row.
_DIVISIONS = {"TrueDivide", "RustDivide", "Divide", "FloorDivide", "Modulus"}
# polars leaves a column as it is, or turns its signs, where a number to add or subtract is zero. Of a zero
# below zero that is not the sum.
_SUMS = {"Plus", "Minus"}
# No function of Python is written with fewer; longer lists of small numbers are rare in expressions.
_FEWEST_BYTES = 16
_FUNCTIONS = {"Negate", "Abs", "Sign", "FillNull", "Clip", "MaxHorizontal", "MinHorizontal", "Coalesce"}
_PREDICATES = {"Not", "IsNull", "IsNotNull", "IsNan", "IsNotNan", "IsFinite", "IsInfinite"}


def written(expression: pl.Expr) -> Written | None:
    """The expression as values of JSON; None where polars cannot write it."""
    try:
        return json.loads(expression.meta.serialize(format="json"))
    except (pl.exceptions.PolarsError, ValueError):
        return None


def is_rowwise(expression: Written, is_column: Callable[[Written], bool]) -> bool:
    """Whether each row of it depends on that row alone.

    is_column: whether a part of it may stand where a column does.
    """
    if is_column(expression):
        return True
    match expression:
        case {"Literal": {"Dyn": _}}:
            return True
        case {"Literal": {"Scalar": dict(scalar)}}:
            return not scalar.keys() & {"List", "Array", "Object", "Struct"}
        case {"BinaryExpr": {"op": str(op)}} if op not in _OPERATORS:
            return False
        case {"BinaryExpr": _} if _divides_by_number(expression, is_column):
            return False
        case {"BinaryExpr": {"left": left, "op": str(op), "right": right}} if op in _SUMS and any(
            _may_be_zero(one, is_column) for one in (left, right)
        ):
            return False
        case {"Function": {"function": function}} if not _is_known(function):
            return False
    parts = children(expression)
    return parts is not None and all(is_rowwise(part, is_column) for part in parts)


def children(expression: Written) -> Iterator[Written] | None:
    """What a row-wise expression is made of; None for any other kind."""
    match expression:
        case {"BinaryExpr": {"left": left, "right": right, "op": _}}:
            return iter((left, right))
        case {"Ternary": {"predicate": predicate, "truthy": truthy, "falsy": falsy}}:
            return iter((predicate, truthy, falsy))
        case {"Alias": [inner, str()]}:
            return iter((inner,))
        case {"Cast": {"expr": inner, "dtype": {"Literal": str()}}}:
            return iter((inner,))
        case {"Function": {"input": list(inputs)}}:
            return iter(inputs)
    return None


def holds_python(expression: Written) -> bool:
    """Whether a function of Python is a part of it: polars writes its bytes, wherever it stands."""
    match expression:
        case {"Literal": _}:
            return False  # its values may be written as bytes, too
        case dict(parts):
            return any(map(holds_python, parts.values()))
        case list(parts):
            return _are_bytes(parts) or any(map(holds_python, parts))
    return False


def _are_bytes(parts: list[Written]) -> bool:
    return len(parts) >= _FEWEST_BYTES and all(type(part) is int and 0 <= part < 256 for part in parts)


def _divides_by_number(expression: Written, is_column: Callable[[Written], bool]) -> bool:
    """Whether it divides a column by what has none, or what has none by a column."""
    match expression:
        case {"BinaryExpr": {"left": left, "op": str(op), "right": right}} if op in _DIVISIONS:
            return not (holds(left, is_column) and holds(right, is_column))
    return False


def _may_be_zero(expression: Written, is_column: Callable[[Written], bool]) -> bool:
    """Whether it is a number, the same for all rows, and not known to be another one than zero."""
    match expression:
        case {"Literal": {"Dyn": {"Int": number} | {"Float": number}}}:
            return not number
        case {"Literal": {"Scalar": dict(scalar)}}:
            return not all(scalar.values())
    return not holds(expression, lambda part: is_column(part) and not _counts_nulls(part))


def _counts_nulls(expression: Written) -> bool:
    """Of a column without any, the count is a number for all windows at once."""
    match expression:
        case {"Function": {"function": "NullCount"}}:
            return True
    return False


def holds(expression: Written, is_column: Callable[[Written], bool]) -> bool:
    """Whether any part of it is a column."""
    if is_column(expression):
        return True
    parts = expression.values() if isinstance(expression, dict) else expression
    return isinstance(expression, dict | list) and any(holds(part, is_column) for part in parts)


def is_named(expression: Written) -> bool:
    """Whether it is a column, by its name."""
    match expression:
        case {"Column": str()}:
            return True
    return False


def _is_known(function: Written) -> bool:
    match function:
        case str(name):
            return name in _FUNCTIONS
        case {"Boolean": str(name)}:
            return name in _PREDICATES
        case {"Boolean": {"IsBetween": _}} | {"Clip": _}:
            return True
    return False
