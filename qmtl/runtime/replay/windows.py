"""What is computed from the window of each bar: its last rows, that bar included.

The definition is `window.select(expression)`, or `function(window)`, for a window that is a frame of its own.
So a value depends on nothing but its window, to the last bit. A running sum, which rolling means of most
libraries use, depends on all that went before: its last digits differ where a run is taken up again. Here
windows are laid side by side, a block at a time, and each is aggregated by itself. What might see that others
are worked out beside it is evaluated window by window.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.spelling import near
from qmtl.runtime.replay.functions import value_for_each_row
from qmtl.runtime.replay.rowwise import written
from qmtl.runtime.replay.together import may_stand_together
from qmtl.runtime.replay.whole_columns import can_be_read, plan

# Rows of all windows of a block together: some tens of megabytes.
_BLOCK_ROWS = 1_000_000
_WINDOW = "window of a bar"

# So many windows that are evaluated one by one are put together.
_AT_ONCE = 1_000
_FAILURES = (pl.exceptions.PolarsError, pl.exceptions.PanicException)

# So many windows are tried before all are worked out over whole columns; for fewer than many it does not pay.
_TRIED, _MANY = 32, 256


def values(
    expressions: Mapping[str, pl.Expr], rows: pl.DataFrame, *, width: int, first: int
) -> dict[str, pl.Series]:
    """Per expression, its value for each row from `first` on, of the window of `width` rows that ends there.

    rows: bars of one series, ascending. first: at least `width - 1`, so that every window is whole.
    Raises `InvalidRequestError` for an expression that cannot be evaluated, or gives several values.
    """
    assert first >= width - 1
    for name, expression in expressions.items():
        check(name, expression, rows.schema)
    found: dict[str, pl.Series] = {}
    if rows.height - first >= _MANY:
        found |= _over_columns(expressions, rows, width, first)
    left = {name: one for name, one in expressions.items() if name not in found}
    alone = {name: one for name, one in left.items() if _has_to_be_alone(one, width)}
    if alone:
        found |= _one_by_one(alone, rows, width, first)
    others = {name: one for name, one in left.items() if name not in alone}
    if others:
        found |= _of_expressions(others, rows, width, first)
    return {name: found[name] for name in expressions}


def check(name: str, expression: pl.Expr, schema: pl.Schema) -> None:
    """Raise `InvalidRequestError` for an expression that bars cannot answer, or that has several values."""
    for column in expression.meta.root_names():
        if column not in schema:
            meant = near(column, schema)
            raise InvalidRequestError(
                f"node {name!r} uses the column {column!r}, which bars do not have",
                next_step=f"did you mean {meant[0]}?" if meant else f"use one of {', '.join(schema)}",
            )
    try:
        outputs = pl.LazyFrame(schema=schema).select(expression).collect_schema()
    except _FAILURES as error:
        raise _not_evaluated([name], error) from error
    if len(outputs) != 1:
        raise InvalidRequestError(
            f"node {name!r} gives a value for each of {len(outputs)} columns, and not one for the window",
            next_step="make a node of each of them",
        )


def _has_to_be_alone(expression: pl.Expr, width: int) -> bool:
    form = written(expression)
    return form is None or not may_stand_together(form, width)


def _one_by_one(
    expressions: Mapping[str, pl.Expr], rows: pl.DataFrame, width: int, first: int
) -> dict[str, pl.Series]:
    # Refuses those that give a value for each row.
    found = pl.DataFrame(_of_expressions(expressions, rows[: first + 1], width, first))
    if first == rows.height:
        return {name: found[name].clear() for name in expressions}
    chosen = [expression.alias(name) for name, expression in expressions.items()]
    parts = []
    try:
        for start in range(first, rows.height, _AT_ONCE):
            ends = range(start + 1, min(start + _AT_ONCE, rows.height) + 1)
            block = [rows.slice(end - width, width).select(chosen) for end in ends]
            parts.append(pl.concat(block, rechunk=True))
        whole = pl.concat(parts)
    except _FAILURES as error:
        raise _not_evaluated(expressions, error) from error
    return {name: whole[name] for name in expressions}


def _of_expressions(
    expressions: Mapping[str, pl.Expr], rows: pl.DataFrame, width: int, first: int
) -> dict[str, pl.Series]:
    chosen = [expression.alias(name) for name, expression in expressions.items()]
    columns = _columns_used(expressions.values(), rows.columns)
    each = max(1, _BLOCK_ROWS // width)
    parts = []
    for start in range(first, max(rows.height, first + 1), each):
        count = min(each, rows.height - start)
        windows = _side_by_side(rows.slice(start - width + 1, count + width - 1), columns, width, count)
        # No column of theirs: expressions may choose columns by their places.
        number = pl.lit(pl.Series(_WINDOW, np.repeat(np.arange(count, dtype=np.uint32), width)).set_sorted())
        try:
            parts.append(windows.group_by(number, maintain_order=True).agg(chosen).drop(_WINDOW))
        except _FAILURES as error:
            raise _not_evaluated(expressions, error) from error
    whole = pl.concat(parts)
    for name, dtype in whole.schema.items():
        if isinstance(dtype, pl.List):
            raise value_for_each_row(name)
    return {name: whole[name] for name in expressions}


def _over_columns(
    expressions: Mapping[str, pl.Expr], rows: pl.DataFrame, width: int, first: int
) -> dict[str, pl.Series]:
    """Of those that can be worked out in this way, and give the same bits for the first windows."""
    known = {name: how for name, node in expressions.items() if (how := plan(node)) is not None}
    used = set().union(*(one.columns() for one in known.values()))
    columns = {name: rows[name].to_numpy() for name in used if can_be_read(rows[name])}
    plans = {name: one for name, one in known.items() if one.columns() <= columns.keys()}
    if not plans:
        return {}
    count = rows.height - first
    found = {name: one.values(columns, width, count) for name, one in plans.items()}
    # Other versions of polars may add up in another order.
    tried = rows.slice(first - width + 1, width - 1 + _TRIED)
    alone = _of_expressions({name: expressions[name] for name in plans}, tried, width, width - 1)
    return {name: one for name, one in found.items() if _same_bits(one.head(_TRIED), alone[name])}


def _same_bits(a: pl.Series, b: pl.Series) -> bool:
    if a.dtype != b.dtype or not a.equals(b, null_equal=True):
        return False
    return a.dtype != pl.Float64 or bool((np.signbit(a.to_numpy()) == np.signbit(b.to_numpy())).all())


def _columns_used(expressions: Iterable[pl.Expr], columns: Sequence[str]) -> list[str]:
    used: set[str] = set()
    for expression in expressions:
        # A choice of columns by a pattern or by their types means those of the whole frame.
        if expression.meta.has_multiple_outputs():
            return list(columns)
        used.update(expression.meta.root_names())
    return [column for column in columns if column in used]


def _not_evaluated(names: Iterable[str], error: BaseException) -> InvalidRequestError:
    return InvalidRequestError(
        f"the expression of node {', '.join(map(repr, names))} cannot be evaluated over a window",
        why=str(error).splitlines()[0],
        next_step="try it on a frame of bars: frame.tail(20).select(expression)",
    )


def _side_by_side(rows: pl.DataFrame, columns: Sequence[str], width: int, count: int) -> pl.DataFrame:
    """`count` windows of `width` rows, one below the other; each begins a row later."""
    if count == 0:
        return rows.clear().select(columns)
    places = np.lib.stride_tricks.sliding_window_view(np.arange(rows.height, dtype=np.uint32), width)
    laid = []
    for name in columns:
        column = rows[name]
        if column.null_count() or column.dtype != pl.Float64:
            laid.append(column.gather(places.reshape(-1)))
        else:
            views = np.lib.stride_tricks.sliding_window_view(column.to_numpy(), width)
            laid.append(pl.Series(name, views.reshape(-1)))
    return pl.DataFrame(laid)
