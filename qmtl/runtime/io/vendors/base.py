"""What a vendor and a live feed are: the two sources of bars."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import polars as pl

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of a vendor.

    frame: rows within `answered`, columns as `BAR_SCHEMA`; may be empty, unsorted, and overlap other pages.
    answered: the range that the vendor answered for. Bars in it without a row did not trade.
    absent: what the vendor says it does not have; lies within `answered`.
    """

    frame: pl.DataFrame
    answered: Span
    absent: Coverage = EMPTY


class Vendor(Protocol):
    """Where past bars come from."""

    def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        """Pages for `span`, in any order, which may stop early: what no page answered stays unknown.

        Raises `SourceUnavailableError` if the vendor fails outright, and `InvalidRequestError` if it does
        not know the series.
        """
        ...


class Paging(NamedTuple):
    """How a vendor may be asked.

    rows: bars that one request brings at most. per_second: requests that its rate budget allows.
    """

    rows: int
    per_second: float


class Paged(Protocol):
    """A vendor that knows its limits, so that the cost of a backfill can be told before."""

    def paging(self, series: SeriesId) -> Paging | None:
        """The limits for a series, without asking anybody; None if they are not known."""
        ...


def paging_of(vendor: Vendor, series: SeriesId) -> Paging | None:
    """The limits of a vendor that knows them; None of any other."""
    ask = getattr(vendor, "paging", None)
    found = ask(series) if callable(ask) else None
    return found if isinstance(found, Paging) else None


@dataclass(frozen=True, slots=True)
class Update:
    """One message of a live feed: rows as `BAR_SCHEMA`, and whether they are final."""

    frame: pl.DataFrame
    closed: bool


class LiveFeed(Protocol):
    """Where bars come from as they close."""

    def bars(self, series: SeriesId) -> AsyncIterator[Update]:
        """Updates as they happen, from the moment of the call; never ends by itself."""
        ...
