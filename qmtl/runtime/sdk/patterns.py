"""Patterns of node ids: which vendor, calendar or fact belongs to a series."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TypeVar

from qmtl.foundation.series import SeriesId

T = TypeVar("T")


def first_match(series: SeriesId, table: Iterable[tuple[str, T]]) -> T | None:
    """The value of the first shell pattern (`ohlcv:binance:*`) that the node id matches."""
    return next((value for pattern, value in table if fnmatchcase(series.text, pattern)), None)
