"""Rate budgets that the machines of a fleet share, and the vendors that may share theirs."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable


class Spent(NamedTuple):
    """wait_s: 0 if a cost is booked; else nothing is, and one asks again then. pause_s: of that, because the
    venue asked to be left alone.
    """

    wait_s: float
    pause_s: float


class FleetRates(Protocol):
    """The budgets that the machines of a fleet share."""

    def share(self, venue: str) -> float:
        """The part of its budget that this machine may spend by itself: less than 1 while nobody answers."""
        ...

    async def take(self, venue: str, *, cost: float, per_second: float, burst: float) -> Spent | None:
        """Spend `cost`; None while nobody answers."""
        ...

    async def pause(self, venue: str, seconds: float) -> None: ...


@runtime_checkable
class SharesRates(Protocol):
    """A vendor whose budgets other machines may share."""

    def share_rates(self, fleet: FleetRates) -> None: ...


def share_rates(vendor: object, fleet: FleetRates) -> None:
    """Tell a vendor of the budgets that it shares, if it has any."""
    if isinstance(vendor, SharesRates):
        vendor.share_rates(fleet)
