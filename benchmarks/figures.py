"""The result of one measurement: a number, its goal, and what it is to be compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from benchmarks.stopwatch import Times

# The peers, as the figures name them.
DUCKDB, PARQUET, ARCTIC = "DuckDB", "Parquet", "ArcticDB"
_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6}


@dataclass(frozen=True)
class Figure:
    """One measured number.

    what: what was done, in a few words.
    measured: how much of `unit` it took: a median, unless `what` says p99.
    goal: the bound it should keep, in `unit`; None where the number only explains another.
    floor: what the machine needs for the minimal work, in `unit`; `floor_is` says which work.
    peers: the same raw work done by other tools, in `unit`, by name; None for one that is not installed.
    spread: what 10 % and what 90 % of the rounds did not pass, in `unit`. Far apart, they say that the
        median is no typical round.
    faults: the median of page faults in a round; None where it was not counted.
    more_is_better: whether the goal is a lower bound.
    """

    what: str
    measured: float
    unit: str
    goal: float | None = None
    floor: float | None = None
    floor_is: str = ""
    peers: Mapping[str, float | None] = field(default_factory=dict)
    spread: tuple[float, float] | None = None
    faults: float | None = None
    more_is_better: bool = False

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is kept; None without a goal."""
        if self.goal is None:
            return None
        return self.measured >= self.goal if self.more_is_better else self.measured <= self.goal

    @property
    def ratio(self) -> float | None:
        """How many times the floor was measured; for rates, how many times slower than the floor."""
        if not self.floor or not self.measured:
            return None
        return self.floor / self.measured if self.more_is_better else self.measured / self.floor

    def to_json(self) -> dict[str, Any]:
        """The fields, and what follows from them."""
        return {**asdict(self), "ratio": self.ratio, "is_met": self.is_met}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Figure:
        fields = {name: value for name, value in values.items() if name not in ("ratio", "is_met")}
        if fields["spread"] is not None:
            fields["spread"] = tuple(fields["spread"])
        return cls(**fields)


class Skipped(Exception):
    """A case cannot be measured here; the message says what it lacks, and stands in the table for it."""


class Comparison(NamedTuple):
    """What figures of one run are compared with; `unit` is s, ms or us."""

    unit: str
    floor: Times
    floor_is: str
    peers: Mapping[str, Times | None] = {}

    def in_unit(self, seconds: float) -> float:
        return seconds * _PER_SECOND[self.unit]

    def figure(
        self, what: str, times: Times, *, goal: float | None = None, percent: float = 50, less: float = 0.0
    ) -> Figure:
        """A percentile of these times, and the same percentile of the peers; the floor is a median.

        `less` (seconds) is subtracted: what is measured is the part beyond it.
        """
        low, high, asked = (self.in_unit(times.percentile(at) - less) for at in (10, 90, percent))
        return Figure(
            what,
            asked,
            self.unit,
            goal=goal,
            floor=self.in_unit(self.floor.percentile(50)),
            floor_is=self.floor_is,
            peers={
                name: None if taken is None else self.in_unit(taken.percentile(percent))
                for name, taken in self.peers.items()
            },
            spread=(low, high),
            faults=float(sorted(times.faults)[len(times.faults) // 2]),
        )
