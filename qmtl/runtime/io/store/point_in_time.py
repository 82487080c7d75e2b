"""Which commit a time names, which times cannot be asked for, and what time the next commit gets."""

from __future__ import annotations

import bisect
from collections.abc import Callable

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.times import iso, to_ns
from qmtl.runtime.io.store.values import Point

READ_NEWEST = "leave out `as_of=` to read the newest state"
PIN_NEWEST = "leave out `as_of=` to pin the newest state"
COMPARE_PAST = "name two times up to now; `commits(...)` lists those at which the series has changed"


def refuse_out_of_reach(
    as_of: int, *, now: int, newest: Point, series: SeriesId | None = None, next_step: str = READ_NEWEST
) -> None:
    """Raise `InvalidRequestError` for a time before 1970, or beyond `now` if nothing was committed since.

    Commit times strictly increase, so that a burst of commits, or a clock that steps back, puts them ahead.
    What is no time is refused as well.
    """
    as_of = to_ns(as_of, name="as_of")
    if as_of < 0:
        raise InvalidRequestError(
            f"as_of {as_of} is {iso(as_of)}, and no commit lies before 1970",
            series=series,
            why="commit times are nanoseconds since 1970-01-01, never counted back from the newest",
            next_step=f"give a time of `commits(...)`, such as {iso(newest.as_of or now)}, or {next_step}",
        )
    if as_of <= max(now, newest.as_of):
        return
    raise InvalidRequestError(
        f"as_of {iso(as_of)} lies in the future",
        series=series,
        why=f"it is {iso(now)} now, and what will be stored by then is not known",
        next_step=next_step,
    )


def following(newest: Point, now: int) -> Point:
    """The commit after `newest`. Clocks step back; commit times do not."""
    return Point(newest.tx + 1, max(now, newest.as_of + 1))


def last_at(first: int, last: int, as_of: int, time_of: Callable[[int], int]) -> Point:
    """The newest of the commits `first` to `last` at `as_of`; (0, 0) if all of them are later."""
    newest = bisect.bisect_right(range(first, last + 1), as_of, key=time_of) + first - 1
    return Point(0, 0) if newest < first else Point(newest, time_of(newest))
