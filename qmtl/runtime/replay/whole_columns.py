"""Expressions of windows that can be worked out over whole columns: aggregates, and what is made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import StringIO
from typing import NamedTuple

import numpy as np
import polars as pl

from qmtl.runtime.replay.kernels import KERNELS, Aggregate, can_take
from qmtl.runtime.replay.rowwise import Written, children, is_rowwise, written


class Plan(NamedTuple):
    """Work out aggregates, then an expression whose columns are these, by their numbers."""

    aggregates: tuple[Aggregate, ...]
    rest: pl.Expr

    def columns(self) -> set[str]:
        return {one.column for one in self.aggregates}

    def values(self, columns: Mapping[str, np.ndarray], width: int, count: int) -> pl.Series:
        """For the last `count` windows. columns: of numbers that kernels can take."""
        frame = {
            str(number): one.over(columns[one.column], width, count)
            for number, one in enumerate(self.aggregates)
        }
        return pl.DataFrame(frame).select(self.rest.alias("value"))["value"]


def plan(expression: pl.Expr) -> Plan | None:
    """How to work out an expression over whole columns; None where it has other parts than we know."""
    whole = written(expression)
    if whole is None or not is_rowwise(whole, lambda part: _aggregate(part) is not None):
        return None
    aggregates: dict[Aggregate, int] = {}
    rest = _replaced(whole, aggregates)
    # A constant has no aggregate, and nothing that says how many windows there are.
    return Plan(tuple(aggregates), _read(rest)) if aggregates else None


def can_be_read(column: pl.Series) -> bool:
    """Whether kernels give of this column what polars gives."""
    return column.dtype == pl.Float64 and not column.null_count() and can_take(column.to_numpy())


def _read(expression: Written) -> pl.Expr:
    return pl.Expr.deserialize(StringIO(json.dumps(expression)), format="json")


def _replaced(expression: Written, aggregates: dict[Aggregate, int]) -> Written:
    """With a column in place of each aggregate."""
    found = _aggregate(expression)
    if found is not None:
        return {"Column": str(aggregates.setdefault(found, len(aggregates)))}
    parts = children(expression)
    if parts is None:
        return expression
    changed = iter([_replaced(part, aggregates) for part in parts])
    match expression:
        case {"BinaryExpr": inner}:
            return {"BinaryExpr": {"left": next(changed), "op": inner["op"], "right": next(changed)}}
        case {"Ternary": _}:
            return {"Ternary": {name: next(changed) for name in ("predicate", "truthy", "falsy")}}
        case {"Alias": [_, name]}:
            return {"Alias": [next(changed), name]}
        case {"Cast": inner}:
            return {"Cast": {**inner, "expr": next(changed)}}
    return {"Function": {**expression["Function"], "input": list(changed)}}


def _aggregate(expression: Written) -> Aggregate | None:
    match expression:
        case {"Agg": dict(one)} if len(one) == 1:
            ((kind, inner),) = one.items()
        case _:
            return None
    if kind not in KERNELS:
        return None
    match inner:
        case {"input": of, "propagate_nans": bool()}:
            inner = of
    match inner:
        case {"Column": str(column)}:
            return Aggregate(kind, column, None, False)
        case {
            "Slice": {
                "input": {"Column": str(column)},
                "offset": {"Literal": {"Dyn": {"Int": int(offset)}}},
                "length": {"Literal": {"Dyn": {"Int": int(length)}}},
            }
        } if length > 0 and offset in (0, -length):
            return Aggregate(kind, column, length, offset != 0)
    return None
