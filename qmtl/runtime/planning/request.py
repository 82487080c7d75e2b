"""What is asked for, and the four strategies, as data."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, NamedTuple

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.sla import SLAPolicy
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import iso

Fill = Literal["flat", "null"]

# What warnings and errors of conformance do to an answer: they raise, they stand in its receipt as
# violations, or they are in its report alone.
OnFindings = Literal["raise", "report", "observe"]


class Tier(StrEnum):
    """Where an answer is sought, in this order."""

    CACHE = "cache"
    STORAGE = "storage"
    BACKFILL = "backfill"
    LIVE = "live"


class Strategy(NamedTuple):
    """Which tiers are asked, and what holes at the end mean.

    reads_rows: whether rows are wanted, or only what is known of each bar: that needs little memory.
    """

    name: str
    tiers: tuple[Tier, ...]
    holes_raise: bool = True
    asks_behind: bool = False
    reads_rows: bool = True


STRATEGIES = {
    strategy.name: strategy
    for strategy in (
        Strategy("FAIL_FAST", (Tier.CACHE, Tier.STORAGE)),
        Strategy("AUTO_BACKFILL", (Tier.CACHE, Tier.STORAGE, Tier.BACKFILL)),
        Strategy("PARTIAL_FILL", (Tier.CACHE, Tier.STORAGE), holes_raise=False, asks_behind=True),
        Strategy("SEAMLESS", (Tier.CACHE, Tier.STORAGE, Tier.BACKFILL, Tier.LIVE)),
    )
}

# Of a backfill, which fills the store and answers with states alone; nobody fetches by it.
FILL_STORE = Strategy("BACKFILL", (Tier.STORAGE, Tier.BACKFILL), holes_raise=False, reads_rows=False)

# A point in time is read from the store as it was: neither the cache nor a vendor knows it.
AS_OF_TIERS = (Tier.STORAGE,)


def strategy_named(name: str) -> Strategy:
    """The strategy of that name. Raises `InvalidRequestError`."""
    try:
        return STRATEGIES[name]
    except (KeyError, TypeError):  # TypeError: not a name at all
        raise InvalidRequestError(
            f"strategy {name!r} is not known", next_step=f"use one of {', '.join(STRATEGIES)}"
        ) from None


class Request(NamedTuple):
    """One question: the bars of a series that open within the aligned `span`.

    `opened_at` is when it was asked (ns). Bars that close after it are no holes: `closed` is the part of
    the span whose bars had closed by then. `partial_ok`: whether holes are answered.
    `on_findings`: None raises, unless `partial_ok`.
    """

    series: SeriesId
    span: Span
    closed: Span
    strategy: Strategy
    opened_at: int
    sla: SLAPolicy | None = None
    partial_ok: bool = False
    as_of: int | None = None
    on_findings: OnFindings | None = None

    @property
    def tiers(self) -> tuple[Tier, ...]:
        return self.strategy.tiers if self.as_of is None else AS_OF_TIERS

    @property
    def findings(self) -> OnFindings:
        """What warnings and errors of conformance do."""
        return self.on_findings or ("report" if self.partial_ok else "raise")

    @property
    def holes_raise(self) -> bool:
        return self.strategy.holes_raise and not self.partial_ok


def check_range(first: int, last: int, series: object = None) -> None:
    """Raise `InvalidRequestError` if the range (ns) ends before it starts."""
    if first > last:
        raise InvalidRequestError(
            f"start {iso(first)} comes after end {iso(last)}",
            series=series,
            next_step="exchange them; a range is [start, end)",
        )


def request_of(
    series: SeriesId,
    grid: Grid,
    first: int,
    last: int | None,
    *,
    now: int,
    strategy: Strategy,
    sla: SLAPolicy | None,
    partial_ok: bool,
    as_of: int | None,
    on_findings: OnFindings | None = None,
) -> Request:
    """The request for the bars that open within `[first, last)` (ns), made at `now` (ns).

    last: None is the last closed bar. Raises `InvalidRequestError` for a range that ends before it starts, or
    that lies wholly in the future.
    """
    last_closed = grid.floor(now)
    if last is None:
        last = max(first, last_closed)
    if first > last:
        check_range(first, last, series)
    if first >= now:
        raise InvalidRequestError(
            f"the range [{iso(first)}, {iso(last)}) lies wholly in the future",
            series=series,
            why=f"it is {iso(now)} now",
            next_step="ask for a range that has begun",
        )
    span = grid.align(Span(first, last))
    closed = span
    if last_closed < span.end:
        closed = Span(span.start, max(span.start, last_closed))
    return Request(series, span, closed, strategy, now, sla, partial_ok, as_of, on_findings)
