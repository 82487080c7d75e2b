"""Histories of fleets that never were: one that keeps all promises, to be broken in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from qmtl.foundation.timeline import EMPTY, Coverage
from qmtl.foundation.times import MINUTE
from qmtl.runtime.coordination.shards import shard_numbers, shard_span
from qmtl.runtime.io.store.fencing import SHARD_STEPS
from tests.qmtl.stories.fleet.history import (
    Asked,
    Claimed,
    Committed,
    Completed,
    Event,
    Fault,
    Fenced,
    Fetched,
    Remaining,
    Requested,
    Reread,
)

SERIES = "ohlcv:test:BTC/USDT:1m"
WIDTH = SHARD_STEPS * MINUTE
# A piece is what one commit brings; a shard has ten of them.
PIECE, PIECES = WIDTH // 10, 30
FIRST = 2_800 * WIDTH


def pieces(first: int, end: int) -> Coverage:
    return Coverage.of((FIRST + first * PIECE, FIRST + end * PIECE))


@dataclass
class MadeUpFleet:
    """Writes down what workers do, one after another."""

    events: list[Event] = field(default_factory=list)
    known: Coverage = EMPTY
    wanted: Coverage = EMPTY
    now: int = 0
    tx: int = 0
    token: int = 0
    claims: int = 0
    # What was said to be there as of a commit: pieces and fingerprints are looked up again in the end.
    states: dict[int, Coverage] = field(default_factory=dict)

    def tick(self) -> int:
        self.now += 1
        return self.now

    def fetch(self, worker: str, first: int, end: int, *, killed_after: int | None = None) -> None:
        """A worker asks for pieces; it may be killed after so many commits."""
        cells, began = pieces(first, end), self.tick()
        self.wanted |= cells
        left = killed_after
        for shard in shard_numbers(cells, WIDTH):
            missing = (cells - self.known).clip(shard_span(shard, WIDTH))
            if not missing:
                continue
            claim, tokens = self.grant(worker, shard, missing)
            for start, stop in missing:
                self.ask(worker, claim, start, stop)
                for piece in range(start, stop, PIECE):
                    if left == 0:
                        self.killed(worker, claim, tokens, piece, began, cells)
                        return
                    self.commit(worker, claim, tokens, piece)
                    left = None if left is None else left - 1
            self.events.append(
                Completed(worker, self.tick(), self.tick(), SERIES, (shard,), claim, self.state())
            )
        as_of = self.state()
        span = cells.hull
        self.events.append(
            Fetched(worker, began, self.tick(), SERIES, *span, as_of, f"{cells!r} as of {as_of}")
        )

    def grant(self, worker: str, shard: int, cells: Coverage) -> tuple[str, tuple[tuple[int, int], ...]]:
        self.claims += 1
        self.token += 1
        claim, tokens = f"claim {self.claims}", ((shard, self.token),)
        spans = tuple(map(tuple, cells))
        self.events += [
            Claimed(worker, self.tick(), self.tick(), SERIES, shard, claim, spans, "granted"),
            Fenced(worker, self.tick(), self.tick(), SERIES, claim, tokens),
        ]
        return claim, tokens

    def ask(self, worker: str, claim: str, start: int, end: int) -> None:
        self.events += [
            Asked(worker, self.tick(), SERIES, claim, start, end),
            Requested(self.tick(), SERIES, start, end),
        ]

    def commit(self, worker: str, claim: str, tokens: tuple[tuple[int, int], ...], piece: int) -> None:
        self.tx += 1
        spans = ((piece, piece + PIECE),)
        self.known |= Coverage(spans)
        self.events.append(
            Committed(
                worker, self.tick(), self.tick(), SERIES, claim, tokens, spans, "accepted", self.tx, self.tx
            )
        )

    def killed(
        self,
        worker: str,
        claim: str,
        tokens: tuple[tuple[int, int], ...],
        piece: int,
        began: int,
        cells: Coverage,
    ) -> None:
        """In the middle of a commit, of which nobody knows whether it was made."""
        spans = ((piece, piece + PIECE),)
        self.events += [
            Committed(worker, self.tick(), None, SERIES, claim, tokens, spans),
            Fault(self.tick(), self.tick(), f"{worker} is killed"),
            Fetched(worker, began, None, SERIES, *cells.hull),
        ]

    def state(self) -> int:
        """The commit time of the newest commit."""
        self.states[self.tx + 1] = self.known
        return self.tx + 1

    def end(self) -> list[Event]:
        """All events, with what is read when all is over. What was left behind is listed as a violation."""
        rereads: list[Event] = []
        for event in self.events:
            if isinstance(event, Completed | Fetched) and event.as_of is not None:
                known = self.states[event.as_of]
                cells = (
                    Coverage.of((event.start, event.end))
                    if isinstance(event, Fetched)
                    else Coverage.of(*(shard_span(shard, WIDTH) for shard in event.shards))
                )
                rereads.append(
                    Reread(
                        SERIES,
                        *cells.hull,
                        event.as_of,
                        spans_of(known & cells),
                        f"{cells!r} as of {event.as_of}",
                    )
                )
        lost = self.wanted - self.known
        return [*self.events, *rereads, Remaining(SERIES, spans_of(self.known), spans_of(lost))]


def spans_of(cells: Coverage) -> tuple[tuple[int, int], ...]:
    return tuple((start, end) for start, end in cells)


def made_up(fetches: Sequence[tuple[str, int, int, int | None]]) -> MadeUpFleet:
    """worker, first piece, end, and after how many commits it is killed."""
    fleet = MadeUpFleet()
    for worker, first, end, killed_after in fetches:
        fleet.fetch(worker, first, end, killed_after=killed_after)
    return fleet
