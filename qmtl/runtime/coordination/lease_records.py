"""What a keeper of leases stores of one shard, as a value and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qmtl.foundation.leases import Lease, LeaseKey, LeaseState, ShardProgress, Violation
from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.coordination.shard_leases import Ended

# A record stays small however scattered its cells are. Of completed cells a part is remembered then, so that
# fewer claims are answered `Done`, and none wrongly.
MOST_SPANS = 64

# Seconds for which an ended lease is remembered: one that was completed, for claims by those who read the
# store before; how often one has failed; and why nobody has completed one.
COMPLETED_S = 600
FAILED_S = 24 * 3600
VIOLATED_S = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """A lease, and beside it the session of its newest grant, and the time of its newest transition (s).

    ended: how the newest attempt that is over has ended, unless it completed the shard.
    """

    lease: Lease
    session: str
    at: float
    ended: Ended | None = None

    @property
    def lifetime_s(self) -> int | None:
        """How long it is remembered; None while the lease is held."""
        if self.lease.state is LeaseState.HELD:
            return None
        if self.lease.violation is not None:
            return VIOLATED_S
        return COMPLETED_S if self.lease.state is LeaseState.COMPLETED else FAILED_S


def remembered(cells: Coverage) -> Coverage:
    """The cells, or the first of them."""
    if len(cells) <= MOST_SPANS:
        return cells
    return Coverage.from_arrays(cells.starts[:MOST_SPANS], cells.ends[:MOST_SPANS])


def record_json(record: ShardRecord) -> dict[str, Any]:
    """JSON values; `record_of` reads them again."""
    lease = record.lease
    facts: dict[str, Any] = {
        "state": lease.state.value,
        "attempts": lease.attempts,
        "claim": lease.claim_id,
        "holder": lease.holder,
        "cells": [list(span) for span in lease.cells],
        "session": record.session,
        "at": record.at,
    }
    more = {
        "progress": None if lease.progress is None else list(lease.progress),
        "why": lease.why,
        "as_of": lease.as_of,
        "violation": None if lease.violation is None else list(lease.violation[1:]),
        "ended": None if record.ended is None else list(record.ended),
    }
    return facts | {name: value for name, value in more.items() if value is not None}


def record_of(key: LeaseKey, facts: dict[str, Any]) -> ShardRecord:
    """The record that `record_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
    progress, violation = facts.get("progress"), facts.get("violation")
    lease = Lease(
        key,
        Coverage.of(*(Span(*span) for span in facts["cells"])),
        LeaseState(facts["state"]),
        facts["attempts"],
        facts["claim"],
        facts["holder"],
        None,
        None if progress is None else ShardProgress(*progress),
        facts.get("why"),
        facts.get("as_of"),
        None if violation is None else Violation(str(key), *violation),
    )
    ended = facts.get("ended")
    return ShardRecord(lease, facts["session"], facts["at"], None if ended is None else Ended(*ended))
