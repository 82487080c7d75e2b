"""How long each phase took, how much of its budget is left, and what it means that nothing is."""

from __future__ import annotations

from typing import NamedTuple

from qmtl.foundation.sla import SLAPolicy
from qmtl.runtime.planning.request import Tier

# The cache and the store are one wait for the caller.
PHASE_OF = {
    Tier.CACHE: "storage_wait",
    Tier.STORAGE: "storage_wait",
    Tier.BACKFILL: "backfill_wait",
    Tier.LIVE: "live_wait",
}


class Breach(NamedTuple):
    """A budget that is spent (`budget_s`, `elapsed_s`) or a bound that is passed (`limit`, `observed`)."""

    phase: str
    budget_s: float | None = None
    elapsed_s: float | None = None
    limit: float | None = None
    observed: float | None = None


class Budget(NamedTuple):
    """The budget that ends a phase first: its name, its size, and the seconds that are left of it."""

    phase: str
    budget_s: float
    left_s: float

    def breach(self, *, seconds: float, elapsed: float) -> Breach:
        """It is spent, `seconds` after the step began and `elapsed` seconds after the request."""
        spent = elapsed if self.phase == "total" else self.budget_s - self.left_s + seconds
        return Breach(self.phase, budget_s=self.budget_s, elapsed_s=spent)


class Ledger(NamedTuple):
    """Seconds per phase; immutable. `elapsed` is what has passed since the request was opened."""

    storage_wait: float = 0.0
    backfill_wait: float = 0.0
    live_wait: float = 0.0

    def spend(self, phase: str, seconds: float) -> Ledger:
        storage, backfill, live = self
        match phase:
            case "storage_wait":
                return Ledger(storage + seconds, backfill, live)
            case "backfill_wait":
                return Ledger(storage, backfill + seconds, live)
            case _:
                return Ledger(storage, backfill, live + seconds)

    @property
    def spent(self) -> float:
        return self.storage_wait + self.backfill_wait + self.live_wait

    def as_dict(self, total: float) -> dict[str, float]:
        """Phases, the rest of the work as `other`, and `total`: the phases and the rest sum to the total."""
        storage, backfill, live = self
        other = total - (storage + backfill + live)
        return {
            "storage_wait": storage,
            "backfill_wait": backfill,
            "live_wait": live,
            "other": other if other > 0.0 else 0.0,
            "total": total if other > 0.0 else self.spent,
        }


NOTHING_SPENT = Ledger()


def budget_for(policy: SLAPolicy | None, tier: Tier, ledger: Ledger, elapsed: float) -> Budget | None:
    """The budget that a step of `tier` has to keep, `elapsed` seconds after the request, if any."""
    if policy is None:
        return None
    phase = PHASE_OF[tier]
    own: float | None = getattr(policy, phase)
    candidates = []
    if own is not None:
        candidates.append(Budget(phase, own, own - getattr(ledger, phase)))
    if policy.total is not None:
        candidates.append(Budget("total", policy.total, policy.total - elapsed))
    return min(candidates, key=lambda budget: budget.left_s, default=None)
