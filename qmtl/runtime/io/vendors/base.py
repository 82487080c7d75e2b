"""What a vendor and a live feed are: the two sources of bars."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

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
