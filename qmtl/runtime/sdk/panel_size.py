"""How large the answers to several fetches become, and how a range is cut so that each part stays small."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from math import floor

from qmtl.foundation.errors import InvalidRequestError, QmtlError
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY
from qmtl.foundation.words import counted

# A time and five values.
ROW_BYTES = 48


def refuse_too_large(asked: Iterable[tuple[Grid, Span]], max_bytes: int) -> None:
    """Raise `InvalidRequestError` if the bars that are expected in these aligned spans take more memory."""
    every = list(asked)
    # With the hours in which nothing trades, which takes no calendar to count.
    if ROW_BYTES * sum(span.length // grid.step for grid, span in every) <= max_bytes:
        return
    bars = 0
    for grid, span in every:
        with suppress(QmtlError):  # of a calendar that cannot be used, which its own fetch meets again
            bars += grid.count(grid.expected(span))
    if (needed := ROW_BYTES * bars) > max_bytes:
        raise InvalidRequestError(
            f"{len(every):,} series of {counted(bars, 'bar')} in all would take about {needed:,} bytes",
            why=f"`max_bytes` of the provider is {max_bytes:,}",
            next_step="use `scan_many(...)`, which gives one range of time after the other, or make "
            "the provider with a larger `max_bytes`",
        )


def refuse_too_many_rows(rows: Iterable[int], max_bytes: int) -> None:
    """Raise `InvalidRequestError` if the rows of answers take more memory than their expected bars do.

    Bars outside of sessions are answered, too, and how many of them there are shows when they are read.
    """
    every = list(rows)
    if (taken := ROW_BYTES * sum(every)) > max_bytes:
        raise InvalidRequestError(
            f"{len(every):,} series have {counted(sum(every), 'row')} in all, about {taken:,} bytes",
            why=f"`max_bytes` of the provider is {max_bytes:,}; there are more bars than calendars expect",
            next_step="use `scan_many(...)`, which gives one range of time after the other, or make "
            "the provider with a larger `max_bytes`",
        )


def blocks(span: Span, timeframes: Iterable[Timeframe], max_bytes: int) -> Iterator[Span]:
    """The span cut into ranges, ascending, whose bars of all timeframes take at most `max_bytes` together.

    Cuts lie at midnight UTC where a range takes a day or more, else at a multiple of the longest timeframe
    that fits. Raises `InvalidRequestError` where one bar of each would be too much.
    """
    steps = [timeframe.step for timeframe in timeframes]
    if ROW_BYTES * len(steps) > max_bytes:
        raise InvalidRequestError(
            f"one bar of each of {len(steps):,} series takes {ROW_BYTES * len(steps):,} bytes",
            why=f"half of `max_bytes` of the provider is {max_bytes:,}",
            next_step="ask for fewer series at once, or make the provider with a larger `max_bytes`",
        )
    width = _width(steps, max_bytes)
    at = span.start
    while at < span.end:
        # From a start that lies anywhere, the first cut is at a multiple, too.
        after = min(span.end, (at // width + 1) * width)
        yield Span(at, after)
        at = after


def _width(steps: list[int], max_bytes: int) -> int:
    """The longest range (ns) that is small enough: whole days, or else a multiple of one of the steps."""
    if not steps:
        return DAY
    for unit in (DAY, *sorted({step for step in steps if step < DAY}, reverse=True)):
        # Of each series a range of `n` units holds at most so many bars, wherever it begins.
        rest = max_bytes - ROW_BYTES * sum(unit % step != 0 for step in steps)
        per_unit = ROW_BYTES * sum(unit / step for step in steps)
        if (units := floor(rest / per_unit)) >= 1:
            return units * unit
    return min(steps)
