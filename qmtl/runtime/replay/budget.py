"""What is raised within a strategy that takes too long."""

from __future__ import annotations


class OverBudget(BaseException):
    """A strategy took longer than it may. No `Exception`: a strategy that catches all of these still ends."""

    def __str__(self) -> str:
        return "it took longer than `budget=` allows"
