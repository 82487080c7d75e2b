"""Vendors and feeds as a provider has them: their names, and who serves where none is named."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from qmtl.foundation.series import SeriesId
from qmtl.foundation.spelling import near
from qmtl.runtime.io.vendors.base import Vendor
from qmtl.runtime.io.vendors.installed_exchanges import ccxt_exchanges
from qmtl.runtime.sdk.lazy_vendor import LazyVendor

if TYPE_CHECKING:
    from qmtl.runtime.io.fleet_rates import FleetRates


class Unserved(NamedTuple):
    """Why no source serves a series, and what would change that."""

    why: str
    next_step: str


def unserved_by(patterns: Iterable[str], series: SeriesId) -> Unserved:
    """Why vendors of these patterns do not serve a series."""
    named = ", ".join(map(repr, patterns))
    entry = f"add {{match: 'ohlcv:{series.venue}:*', kind: ccxt, exchange: {series.venue}}}"
    return Unserved(
        _NO_VENDOR + (f"; there are some for {named}" if named else ""),
        f"{entry if series.venue in _exchanges() else 'name a vendor'} {_WHERE}, or import a file",
    )


class CcxtByVenue:
    """Where no vendors are named: ccxt for the exchanges it knows, if it is installed."""

    def __init__(self) -> None:
        self._made: dict[str, Vendor] = {}
        self.fleet: FleetRates | None = None

    def vendor(self, series: SeriesId) -> Vendor | None:
        """The vendor of the venue. It is not loaded until it is asked, since that takes a while."""
        venue = series.venue
        if venue not in self._made and venue in _exchanges():
            self._made[venue] = LazyVendor(f"ccxt:{venue}", partial(_ccxt, venue))
            if self.fleet is not None:
                from qmtl.runtime.io.fleet_rates import share_rates  # only beside a coordinator

                share_rates(self._made[venue], self.fleet)
        return self._made.get(venue)

    def unserved(self, series: SeriesId) -> Unserved:
        """Why `vendor` has nothing for a series."""
        known, venue = _exchanges(), series.venue
        if not known:
            return Unserved(
                f"{_NO_VENDOR}, and ccxt is not installed",
                f"pip install 'qmtl[ccxt]', name a vendor {_WHERE}, or import a file",
            )
        alike = near(venue, known)
        return Unserved(
            f"{_NO_VENDOR}, and ccxt has no exchange {venue!r}",
            (f"did you mean {' or '.join(alike)}? else " if alike else "")
            + f"name a vendor {_WHERE}, or import a file",
        )

    @property
    def described(self) -> str:
        """For people; empty if ccxt is not installed."""
        return "the exchanges of ccxt" if _exchanges() else ""

    @property
    def made(self) -> list[Vendor]:
        """The vendors that some series has had."""
        return list(self._made.values())


_NO_VENDOR = "no vendor is configured for this series"
_WHERE = "in qmtl.yml (seamless.vendors)"


def _exchanges() -> frozenset[str]:
    """Those that ccxt knows; none if it is not installed."""
    return ccxt_exchanges() if find_spec("ccxt") else frozenset()


def _ccxt(venue: str) -> Vendor:
    from qmtl.runtime.io.vendors.ccxt import CcxtVendor

    return CcxtVendor(venue)


def name_of(source: object) -> str:
    """What receipts, logs and errors call a source: its own `name`, or its class."""
    return str(getattr(source, "name", None) or type(source).__name__)
