"""What is told of jobs and their shards: steps, for the log, for counts, and for the audit trail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from qmtl.runtime.coordination.job_blocks import Block, ShardState


class JobEvent(NamedTuple):
    """name: queued, completed, cancelled of a job; taken, done, ... of a shard, whose `lease_key` is told."""

    name: str
    job: str
    facts: Mapping[str, Any]

    @property
    def step(self) -> dict[str, Any]:
        """As it stands in the audit trail, beside the steps of leases."""
        facts = self.facts
        return {
            "event": f"job.{self.name}",
            "lease_key": facts.get("lease_key"),
            "holder": facts.get("worker") or facts.get("by"),
            "claim_id": None,
            "attempts": facts.get("attempts", 0),
            "why": facts.get("why"),
            "job": self.job,
        }


def ended(before: Block, after: Block, within: int, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What there is to say of an attempt that has ended: the names of events, and their facts."""
    failures = after.failures.get(within)
    worker = before.claims[within].worker
    failed = failures is not None and name != "released"
    yield name, {"worker": worker, "why": failures.why if failures is not None and failed else None}
    if after.states[within] is ShardState.VIOLATION and failures is not None:
        yield "violation", {"why": failures.why}
