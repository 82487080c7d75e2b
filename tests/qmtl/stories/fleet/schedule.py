"""Which faults a fleet meets, and when: from a seed, the same each time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

# What can be done to each part, and how many seconds it may last: longer than a lease lives, at times.
STOPPED, KILLED, JUMPED, STALLED, CUT = (0.3, 9.0), (0.2, 4.0), (1.0, 6.0), (0.3, 9.0), (0.0, 0.0)
FAULTS = {
    "etcd": {"kill": KILLED, "stop": STOPPED},
    "leader": {"kill": KILLED, "stop": STOPPED},
    "coordinator": {"kill": KILLED, "stop": STOPPED, "jump": JUMPED},
    "worker": {"kill": KILLED, "stop": STOPPED, "jump": JUMPED},
    "to coordinator": {"cut": CUT, "stall": STALLED},
    "to store": {"cut": CUT, "stall": STALLED},
    "store": {"kill": KILLED, "stop": (0.3, 4.0), "jump": JUMPED},
    "exchange": {"kill": KILLED, "stop": (0.3, 4.0), "jump": JUMPED},
}
# How often each is met. While the store or the exchange is away, nothing goes on that could go wrong. The
# clock of etcd cannot be set: see `tests/qmtl/faketime.py`.
WEIGHTS = {
    "etcd": 2,
    "leader": 2,
    "coordinator": 3,
    "worker": 6,
    "to coordinator": 4,
    "to store": 6,
    "store": 2,
    "exchange": 1,
}
# Seconds between two faults.
PAUSE = (0.4, 2.0)


class PlannedFault(NamedTuple):
    """at, lasts: seconds, from the beginning of the run. by: how far a clock jumps (s)."""

    at: float
    part: str
    number: int
    how: str
    lasts: float
    by: int

    def __str__(self) -> str:
        by = f" by {self.by:+} s" if self.how == "jump" else ""
        return f"{self.at:.1f} s: {self.how} {self.part} {self.number}{by} for {self.lasts:.1f} s"


def schedule(seed: int, faults: int, parts: Sequence[tuple[str, int]]) -> list[PlannedFault]:
    """So many faults of these parts (name and number), by time. No part meets two at once."""
    chance = random.Random(seed)
    free = dict.fromkeys(parts, 0.0)
    kinds = sorted({name for name, _ in parts})
    planned: list[PlannedFault] = []
    at = 0.0
    for _ in range(faults):
        at += chance.uniform(*PAUSE)
        (kind,) = chance.choices(kinds, [WEIGHTS[kind] for kind in kinds])
        part = chance.choice([part for part in parts if part[0] == kind])
        how = chance.choice(sorted(FAULTS[kind]))
        lasts = chance.uniform(*FAULTS[kind][how])
        begins = max(at, free[part])
        # As much after the end, so that it is there again for a while.
        free[part] = begins + 2 * lasts + PAUSE[0]
        by = chance.choice((-86_400, -3_600, -5, 5, 3_600))
        planned.append(PlannedFault(begins, *part, how, lasts, by))
    return sorted(planned)
