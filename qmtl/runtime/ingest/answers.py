"""What an answer proves: screened rows, and what their source answered for, become one write.

Pages of a vendor, rows of a file and bars of a live feed all pass through `write_of`.
"""

from __future__ import annotations

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import SECOND
from qmtl.runtime.conformance.screen import Screened
from qmtl.runtime.ingest.settlement import SettlementPolicy
from qmtl.runtime.io.store.values import Write


def write_of(
    screened: Screened,
    answered: Coverage,
    absent: Coverage = EMPTY,
    *,
    grid: Grid,
    facts: SeriesFacts,
    source: str,
    asked_at: int,
    settlement: SettlementPolicy,
    stored: Coverage = EMPTY,
    refused_before: Coverage = EMPTY,
) -> Write:
    """The write of one answer.

    answered: what the source answered for. absent: the part that it does not have. asked_at (ns): when it was
        asked; what closed later may have been answered before it was complete.
    stored: bars that have a row in the store. refused_before: bars whose rows were impossible already.

    An answered bar without a row did not trade only if it had closed `settle` before `asked_at`. A bar whose
    row is impossible becomes unknown, and earlier answers for it no longer count; but a stored row stays,
    with the answer that brought it. An absence holds until it expires.
    """
    present = grid.cells(stamps(screened.clean))
    settled_until = grid.floor(asked_at - int(settlement.settle * SECOND))
    first = answered.hull.start
    settled = answered.clip(Span(first, max(first, settled_until)))
    retracted = screened.retracted - present - stored
    expiry = asked_at + int(settlement.absent_expiry * SECOND)
    return Write(
        source=source,
        checked_at=asked_at,
        frame=screened.clean,
        answered=(settled | (present & answered)) - screened.retracted - (absent - present),
        absent=absent - present,
        absent_until=expiry,
        retracted=retracted,
        refused=retracted & refused_before,
        refused_until=expiry,
        quarantine=screened.quarantine if screened.quarantine.height else None,
        declared=facts.storable,
    )
