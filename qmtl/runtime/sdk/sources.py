"""Which vendor and which feed serve a series, and why none does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Generic, NamedTuple, TypeVar

from qmtl.foundation.observability.log import backfill_log
from qmtl.foundation.series import SeriesId
from qmtl.foundation.spelling import near
from qmtl.runtime.coordination.foreign import closed_or_logged
from qmtl.runtime.io.vendors.base import LiveFeed, Vendor
from qmtl.runtime.sdk.patterns import first_match

Source = TypeVar("Source", Vendor, LiveFeed)


# How long one source may take to close its connections.
_CLOSE_S = 2.0


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

    @property
    def described(self) -> str:
        """Who serves what, for people; empty if there is nobody."""
        return ", ".join(f"{pattern} by {name_of(source)}" for pattern, source in self._table)

    @property
    def made(self) -> list[Source]:
        """The sources that there are, each once."""
        return list({id(source): source for _, source in self._table}.values())


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
        alike = near(venue, known)
        return Unserved(
            f"{_NONE}, and ccxt has no exchange {venue!r}",
            (f"did you mean {' or '.join(alike)}? else " if alike else "")
            + f"name a vendor {_WHERE}, or import a file",
        )

    @property
    def described(self) -> str:
        return "the exchanges of ccxt" if _exchanges() else ""

    @property
    def made(self) -> list[Vendor]:
        return [vendor for vendor in self._made.values() if vendor is not None]


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


async def close_each(sources: Iterable[object]) -> None:
    """Close the sources that can be closed, whatever one of them does: a failure is logged.

    One that does not come to an end is left. A wish to end the program is raised once all are closed.
    """
    leave: SystemExit | KeyboardInterrupt | None = None
    for source in sources:
        try:
            async with asyncio.timeout(_CLOSE_S):
                leave = await closed_or_logged(source, source=name_of(source)) or leave
        except TimeoutError:
            error = f"it takes more than {_CLOSE_S:g} s"
            backfill_log.warning("backfill.close_failed", source=name_of(source), error=error)
    if leave is not None:
        raise leave


def name_of(source: object) -> str:
    """What receipts, logs and errors call a source: its own `name`, or its class."""
    return str(getattr(source, "name", None) or type(source).__name__)
