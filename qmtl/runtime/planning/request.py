"""What is asked for, and the four strategies, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.sla import SLAPolicy
from qmtl.foundation.timeline import Span

Fill = Literal["flat", "null"]


class Tier(StrEnum):
    """Where an answer is sought, in this order."""

    CACHE = "cache"
    STORAGE = "storage"
    BACKFILL = "backfill"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Strategy:
    """Which tiers are asked, and what holes at the end mean."""

    name: str
    tiers: tuple[Tier, ...]
    holes_raise: bool = True
    asks_behind: bool = False


STRATEGIES = {
    strategy.name: strategy
    for strategy in (
        Strategy("FAIL_FAST", (Tier.CACHE, Tier.STORAGE)),
        Strategy("AUTO_BACKFILL", (Tier.CACHE, Tier.STORAGE, Tier.BACKFILL)),
        Strategy("PARTIAL_FILL", (Tier.CACHE, Tier.STORAGE), holes_raise=False, asks_behind=True),
        Strategy("SEAMLESS", (Tier.CACHE, Tier.STORAGE, Tier.BACKFILL, Tier.LIVE)),
    )
}

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
    the span whose bars had closed by then.
    """

    series: SeriesId
    span: Span
    closed: Span
    strategy: Strategy
    opened_at: int
    sla: SLAPolicy | None = None
    partial_ok: bool = False
    as_of: int | None = None

    @property
    def tiers(self) -> tuple[Tier, ...]:
        return self.strategy.tiers if self.as_of is None else AS_OF_TIERS

    @property
    def holes_raise(self) -> bool:
        return self.strategy.holes_raise and not self.partial_ok
