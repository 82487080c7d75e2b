"""One fetch while it is under way: the session, what was read last, and what the tiers did."""

from __future__ import annotations

from dataclasses import dataclass, field

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.grid import Grid
from qmtl.foundation.timeline import EMPTY, Coverage
from qmtl.runtime.coordination.backfill import Filling, OnProgress
from qmtl.runtime.coordination.tail import Tail
from qmtl.runtime.io.holding import Holding
from qmtl.runtime.planning.request import Fill, Request, Tier
from qmtl.runtime.planning.session import Session
from qmtl.runtime.sdk.schemas import Held


@dataclass
class Journey:
    """Mutable, and owned by one call."""

    request: Request
    grid: Grid
    facts: SeriesFacts
    held: Held
    opened: float  # clock.monotonic() when the call began
    session: Session
    holding: Holding | None = None
    filling: Filling | None = None
    tail: Tail | None = None
    fill: Fill | None = None
    on_progress: OnProgress | None = None
    shows_progress: bool = False
    # What was missing before the backfill and before the live tail: the difference tells who served what.
    missing_before: dict[Tier, Coverage] = field(default_factory=dict)
    # Bars that a read found damaged; those that the holding still calls so have not healed.
    damage_met: Coverage = EMPTY

    @property
    def damage_left(self) -> Coverage:
        """Bars that are damaged and did not heal within this call."""
        return EMPTY if self.holding is None else self.holding.damaged

    def brought_by(self, tier: Tier) -> Coverage:
        """Cells that were missing before `tier` had its turn, and are not any more."""
        before = self.missing_before.get(tier)
        if before is None or self.holding is None:
            return EMPTY
        later = self.missing_before.get(Tier.LIVE) if tier is Tier.BACKFILL else None
        after = later if later is not None else self.holding.unknown
        return before - after
