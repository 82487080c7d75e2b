"""Nodes that run code of Python: functions of a window, and expressions that hold one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.replay.rowwise import holds_python, written

Function = Callable[[pl.DataFrame], Any]


def runs_python(node: pl.Expr | Function) -> bool:
    """Whether code of Python may run when it is worked out. What polars cannot write counts as such."""
    if not isinstance(node, pl.Expr):
        return True
    form = written(node)
    return form is None or holds_python(form)


def function_of(name: str, node: pl.Expr | Function) -> Function:
    """A function of the window that gives what a node gives."""
    if not isinstance(node, pl.Expr):
        return node

    def value(window: pl.DataFrame) -> Any:
        found = window.select(node)
        if found.height != 1:
            raise value_for_each_row(name)
        return found.item()

    return value


def value_for_each_row(name: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"node {name!r} gives a value for each row of its window, and not one for the window",
        next_step="end the expression with an aggregation, such as .last(), .mean() or .max()",
    )
