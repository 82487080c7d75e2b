"""Which vendor and which feed serve a series."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Generic, TypeVar

from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.vendors.base import LiveFeed, Vendor
from qmtl.runtime.sdk.patterns import first_match

Source = TypeVar("Source", Vendor, LiveFeed)


class Sources(Generic[Source]):
    """Patterns of node ids and the sources behind them, in order; a bare source serves all."""

    def __init__(self, sources: Mapping[str, Source] | Source | None) -> None:
        if sources is None:
            self._table: list[tuple[str, Source]] = []
        elif isinstance(sources, Mapping):
            self._table = list(sources.items())
        else:
            self._table = [("*", sources)]

    def find(self, series: SeriesId) -> Source | None:
        """The first source whose pattern matches."""
        return first_match(series, self._table)

    async def close(self) -> None:
        """Close the sources that can be closed: those with `aclose()`."""
        for source in {id(source): source for _, source in self._table}.values():
            await _close(source)


class CcxtByVenue(Sources[Vendor]):
    """Without a table: ccxt for the exchanges it knows, if it is installed."""

    def __init__(self) -> None:
        super().__init__(None)
        self._made: dict[str, Vendor | None] = {}

    def find(self, series: SeriesId) -> Vendor | None:
        venue = series.venue
        if venue not in self._made:
            self._made[venue] = _ccxt(venue)
        return self._made[venue]

    async def close(self) -> None:
        for vendor in self._made.values():
            await _close(vendor)


def _ccxt(venue: str) -> Vendor | None:
    if find_spec("ccxt") is None:
        return None
    from qmtl.runtime.io.vendors.ccxt import CcxtVendor
    from qmtl.runtime.io.vendors.ccxt_client import ccxt_exchanges

    return CcxtVendor(venue) if venue in ccxt_exchanges() else None


async def _close(source: Any) -> None:
    closing = getattr(source, "aclose", None)
    if closing is not None:
        result = closing()
        if inspect.isawaitable(result):
            await result


def name_of(source: object) -> str:
    """What receipts, logs and errors call a source: its own `name`, or its class."""
    return str(getattr(source, "name", None) or type(source).__name__)
