"""What ends a strategy: its own failures, and the budget that it has used up."""

from __future__ import annotations

import polars as pl


class OverBudget(BaseException):
    """A strategy took longer than it may. No `Exception`: a strategy that catches all of these still ends."""

    def __str__(self) -> str:
        return "it took longer than `budget=` allows"


# Whatever a user's code raises is its own failure, and is told with its bar. Ctrl-C is none.
OWN_FAILURES = (Exception, OverBudget, SystemExit, pl.exceptions.PanicException)
