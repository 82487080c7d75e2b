"""What happened in a run of a fleet, as values, and as lines of JSON that outlive who wrote them.

Times `at` and `until` are ns of the machine's monotonic clock, which all its processes share: when something
began, and when its outcome was known; `until` is None where nobody lived to see it. Spans are of bars, in ns
UTC.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

Spans: TypeAlias = tuple[tuple[int, int], ...]
# Of each shard its fencing token.
Tokens: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Claimed:
    """What a claim was answered for one shard, by the coordinator or (without it) by the worker's machine.

    as_of: where it was done, in ns.
    """

    worker: str
    at: int
    until: int
    series: str
    shard: int
    claim: str
    cells: Spans
    answer: Literal["granted", "held", "done"]
    coordinated: bool = True
    as_of: int | None = None


@dataclass(frozen=True)
class Completed:
    """A claim told the coordinator that these shards are done, and was believed."""

    worker: str
    at: int
    until: int
    series: str
    shards: tuple[int, ...]
    claim: str
    as_of: int


@dataclass(frozen=True)
class Fenced:
    """The store issued tokens to a claim."""

    worker: str
    at: int
    until: int
    series: str
    claim: str
    tokens: Tokens


@dataclass(frozen=True)
class Committed:
    """A write under tokens. outcome: None where it is not known whether the store has taken it.

    as_of: the time of the commit by the store, in ns.
    """

    worker: str
    at: int
    until: int | None
    series: str
    claim: str
    tokens: Tokens
    answered: Spans
    outcome: Literal["accepted", "refused"] | None = None
    tx: int | None = None
    as_of: int | None = None


@dataclass(frozen=True)
class Asked:
    """A worker is about to ask its vendor for this range, under a claim."""

    worker: str
    at: int
    series: str
    claim: str
    start: int
    end: int


@dataclass(frozen=True)
class Requested:
    """A request for this range has arrived at the vendor."""

    at: int
    series: str
    start: int
    end: int


@dataclass(frozen=True)
class Fetched:
    """A client asked for a range. It got bars, as the receipt says, or an error, or was killed meanwhile."""

    worker: str
    at: int
    until: int | None
    series: str
    start: int
    end: int
    as_of: int | None = None
    fingerprint: str | None = None
    unknown: Spans = ()
    error: str | None = None


@dataclass(frozen=True)
class Queued:
    """Somebody wants a range to be filled by a job, which is queued until the coordinator has taken it."""

    at: int
    series: str
    start: int
    end: int


@dataclass(frozen=True)
class Fault:
    """Something was done to a process; `until` it was undone, and had no further effect."""

    at: int
    until: int | None
    what: str


@dataclass(frozen=True)
class Reread:
    """What the store has of a range, as of a time that somebody was given: read when all was over."""

    series: str
    start: int
    end: int
    as_of: int
    known: Spans
    fingerprint: str


@dataclass(frozen=True)
class Remaining:
    """What the store knows of a range in the end, and what is listed as a violation."""

    series: str
    known: Spans
    violated: Spans = ()


Event: TypeAlias = (
    Claimed
    | Completed
    | Fenced
    | Committed
    | Asked
    | Requested
    | Fetched
    | Queued
    | Fault
    | Reread
    | Remaining
)
KINDS = {
    kind.__name__.lower(): kind
    for kind in (
        Claimed,
        Completed,
        Fenced,
        Committed,
        Asked,
        Requested,
        Fetched,
        Queued,
        Fault,
        Reread,
        Remaining,
    )
}


class HistoryFile:
    """Appends events to a file; what was written is there, however the process ends."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._number = 0

    def write(self, event: Event, number: int | None = None) -> int:
        """The number of the event. One that was written before under `number` is replaced by it."""
        if number is None:
            self._number = number = self._number + 1
        facts = {"kind": type(event).__name__.lower(), "number": number, **asdict(event)}
        os.write(self._descriptor, json.dumps(facts).encode() + b"\n")
        return number

    def close(self) -> None:
        os.close(self._descriptor)


def read_history(paths: Iterable[Path]) -> list[Event]:
    """All events of these files. The last line of a file may be cut off: its process was killed."""
    events: list[Event] = []
    for path in paths:
        of_file: dict[int, Event] = {}
        *lines, _ = path.read_bytes().split(b"\n")
        for line in lines:
            facts = json.loads(line)
            kind, number = KINDS[facts.pop("kind")], facts.pop("number")
            of_file[number] = kind(**{name: _tuples(value) for name, value in facts.items()})
        events += of_file.values()
    return events


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
