"""What happens in a market, as a strategy is given it."""

from __future__ import annotations

from typing import NamedTuple

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span


class Bar(NamedTuple):
    """One closed bar.

    ts: when it opened; closed: when its cell ended, the first moment at which it is known (both int
    nanoseconds UTC). volume: None where the source has none.
    """

    series: SeriesId
    ts: int
    closed: int
    open: float
    high: float
    low: float
    close: float
    volume: float | None


class Gap(NamedTuple):
    """Bars that are missing; nobody pretends that they did not trade.

    span: `[start, end)` in int nanoseconds UTC. why: "unknown" (nobody has answered for them) or "absent"
    (the source has not got them).
    """

    series: SeriesId
    span: Span
    why: str


class Revision(NamedTuple):
    """What was known of a bar has changed.

    old: as it was known so far; None for a bar that comes after a later one of its series. new: as it is
    known from `at` on (int ns UTC); None for one that was taken back.
    """

    old: Bar | None
    new: Bar | None
    at: int


class Unclean(NamedTuple):
    """Bars that a run was given with findings, or was not given at all: what is wrong with them, in words."""

    series: str
    span: Span
    what: str
