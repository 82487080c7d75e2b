"""How much is measured: the sizes that the goals are for, and tiny ones that only prove that a case runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Row counts and repetitions.

    year: rows of one stored year. window: rows of a short read. many: rows of the largest series of a store.
    snapshot: rows of one that is carried away.
    series: how many series of a year are written in bulk. panel: how many are fetched at once.
    upsert: rows changed at once.
    spans: how many are merged. fields: of a large schema. versions: of a subject. seconds: how long a server
        is under load.
    rounds: repetitions of what takes milliseconds; twice as many would not move a median. quick_rounds:
        repetitions of what takes microseconds, enough for a p99. processes: whole processes started.
    """

    year: int
    window: int
    many: int
    snapshot: int
    series: int
    panel: int
    upsert: int
    spans: int
    fields: int
    versions: int
    seconds: float
    rounds: int
    quick_rounds: int
    processes: int


FULL = Sizes(
    year=525_600,
    window=1_000,
    many=10_000_000,
    snapshot=50_000_000,
    series=8,
    panel=1_000,
    upsert=10_000,
    spans=200_000,
    fields=200,
    versions=50,
    seconds=5.0,
    rounds=15,
    quick_rounds=1_000,
    processes=11,
)
TINY = Sizes(
    year=20_000,
    window=1_000,
    many=60_000,
    snapshot=60_000,
    series=2,
    panel=5,
    upsert=1_000,
    spans=2_000,
    fields=5,
    versions=3,
    seconds=0.2,
    rounds=1,
    quick_rounds=10,
    processes=1,
)
