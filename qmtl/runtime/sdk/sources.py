"""Which vendor and which feed serve a series, and why none does."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any, Generic, NamedTuple, TypeVar

from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.vendors.base import LiveFeed, Vendor
from qmtl.runtime.sdk.patterns import first_match

Source = TypeVar("Source", Vendor, LiveFeed)


# Below this likeness a venue is more probably one of the user's own than a slip of the pen.
_ALIKE = 0.75


class Unserved(NamedTuple):
    """Why no source serves a series, and what would change that."""

    why: str
    next_step: str


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

    def unserved(self, series: SeriesId) -> Unserved:
        """Why `find` has nothing for a series."""
        patterns = ", ".join(repr(pattern) for pattern, _ in self._table)
        entry = f"add {{match: 'ohlcv:{series.venue}:*', kind: ccxt, exchange: {series.venue}}}"
        return Unserved(
            _NONE + (f"; there are some for {patterns}" if patterns else ""),
            f"{entry if series.venue in _exchanges() else 'name a vendor'} {_WHERE}, or import a file",
        )

    async def close(self) -> None:
        """Close the sources that can be closed: those with `aclose()`."""
        for source in {id(source): source for _, source in self._table}.values():
            await close_source(source)


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

    def unserved(self, series: SeriesId) -> Unserved:
        known, venue = _exchanges(), series.venue
        if not known:
            return Unserved(
                f"{_NONE}, and ccxt is not installed",
                f"pip install 'qmtl[ccxt]', name a vendor {_WHERE}, or import a file",
            )
        near = get_close_matches(venue.lower(), known, n=3, cutoff=_ALIKE)
        return Unserved(
            f"{_NONE}, and ccxt has no exchange {venue!r}",
            (f"did you mean {' or '.join(near)}? else " if near else "")
            + f"name a vendor {_WHERE}, or import a file",
        )

    async def close(self) -> None:
        for vendor in self._made.values():
            await close_source(vendor)


_NONE = "no vendor is configured for this series"
_WHERE = "in qmtl.yml (seamless.vendors)"


def _exchanges() -> frozenset[str]:
    """Those that ccxt knows; none if it is not installed."""
    if find_spec("ccxt") is None:
        return frozenset()
    from qmtl.runtime.io.vendors.ccxt_client import ccxt_exchanges

    return ccxt_exchanges()


def _ccxt(venue: str) -> Vendor | None:
    if venue not in _exchanges():
        return None
    from qmtl.runtime.io.vendors.ccxt import CcxtVendor

    return CcxtVendor(venue)


async def close_source(source: Any) -> None:
    """Close a source that can be closed."""
    closing = getattr(source, "aclose", None)
    if closing is not None:
        result = closing()
        if inspect.isawaitable(result):
            await result


def name_of(source: object) -> str:
    """What receipts, logs and errors call a source: its own `name`, or its class."""
    return str(getattr(source, "name", None) or type(source).__name__)
