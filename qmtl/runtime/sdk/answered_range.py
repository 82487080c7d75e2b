"""The range that a person says a file answers for, as the times that people write."""

from __future__ import annotations

from typing import Any, TypeAlias

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import iso, to_ns

# A pair of start and end, each as `fetch` takes them.
Answered: TypeAlias = Span | tuple[Any, Any] | list[Any]


def answered_range(ends: Any) -> Span | None:
    """`[start, end)`. Raises `InvalidRequestError` for what is no pair of times, the earlier first."""
    if ends is None or isinstance(ends, Span):
        return ends
    if not isinstance(ends, tuple | list) or len(ends) != 2:
        raise InvalidRequestError(
            f"`answered={ends!r}` is no range",
            why="it takes two times: where the range starts, and where it ends",
            next_step="give both: `answered=('2024-01-01', '2024-02-01')`",
        )
    start, end = (to_ns(one, name="`answered=`") for one in ends)
    if start > end:
        raise InvalidRequestError(
            f"`answered=` starts at {iso(start)}, after its end {iso(end)}", next_step="exchange them"
        )
    return Span(start, end)
