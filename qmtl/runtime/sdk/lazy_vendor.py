"""A vendor that is made when it is first asked: until then a slip in its settings concerns nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import cached_property
from typing import TYPE_CHECKING

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.vendors.base import Page, Paging, Vendor, paging_of

if TYPE_CHECKING:
    from qmtl.runtime.io.fleet_rates import FleetRates


class LazyVendor:
    """Stands for the vendor of this name that `make` gives; asking it raises what `make` raises."""

    def __init__(self, name: str, make: Callable[[], Vendor]) -> None:
        self.name = name
        self._make = make
        self._fleet: FleetRates | None = None

    def __reduce__(self) -> tuple[type[LazyVendor], tuple[str, Callable[[], Vendor]]]:
        """Another process makes the vendor anew."""
        return LazyVendor, (self.name, self._make)

    @cached_property
    def _vendor(self) -> Vendor:
        made = self._make()
        if self._fleet is not None:
            from qmtl.runtime.io.fleet_rates import share_rates  # only beside a coordinator

            share_rates(made, self._fleet)
        return made

    def share_rates(self, fleet: FleetRates) -> None:
        """For the vendor, once it is made."""
        self._fleet = fleet

    def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        return self._vendor.pages(series, span)

    def paging(self, series: SeriesId) -> Paging | None:
        """The limits of the vendor, if it knows them."""
        return paging_of(self._vendor, series)

    @property
    def is_made(self) -> bool:
        """Whether it was ever asked; if not, there is nothing to close."""
        return "_vendor" in vars(self)

    async def aclose(self) -> None:
        if self.is_made:
            from qmtl.runtime.ingest.foreign import close  # loads asyncio

            await close(self._vendor)
