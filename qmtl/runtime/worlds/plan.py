"""What it would take to fill the history of an input: bars, requests, seconds and bytes, computed purely."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qmtl.foundation.states import BarStates
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.ingest.questions import runs
from qmtl.runtime.io.vendors.base import Paging

# Bytes of a stored bar where the store has none yet: as measured with packed chunks (docs/benchmarks.md).
BYTES_PER_BAR = 6.6


@dataclass(frozen=True, slots=True)
class Cost:
    """What filling takes.

    expected: bars of the history, those that are there where the calendar expects none included. answered:
    those that have an answer. to_fetch: those that nobody has answered for. requests: at least so many; None
    where the vendor does not say how it may be asked. seconds: those requests at the rate budget of the
    vendor. bytes: that the new bars will take in the store, about.
    """

    expected: int
    answered: int
    to_fetch: int
    requests: int | None
    seconds: float | None
    bytes: int


def cost_of(states: BarStates, paging: Paging | None, bytes_per_bar: float) -> Cost:
    """The cost of one series whose bars are in these states."""
    counts = states.counts
    answered, to_fetch = counts["present"] + counts["no_trade"], counts["unknown"]
    asked = None if paging is None else sum(requests(cells, paging.rows) for cells in _cells(states))
    return Cost(
        expected=answered + counts["absent"] + to_fetch,
        answered=answered,
        to_fetch=to_fetch,
        requests=asked,
        seconds=None if paging is None or asked is None else asked / paging.per_second,
        bytes=round(to_fetch * bytes_per_bar),
    )


def _cells(states: BarStates) -> Iterable[int]:
    """The bars of each range that a backfill asks for at once."""
    for span in runs(states.unknown, states.grid):
        yield states.grid.count(states.unknown & Coverage.of(span))


def requests(bars: int, rows: int) -> int:
    """How many pages of `rows` it takes: each next one begins with the last bar of the page before."""
    if bars <= 0:
        return 0
    return 1 + max(0, -(-(bars - rows) // max(1, rows - 1)))


def together(costs: Iterable[Cost]) -> Cost:
    """Of several series; a number that is not known of one is not known of all that need it."""
    parts = list(costs)
    asked = [one.requests for one in parts if one.to_fetch]
    seconds = [one.seconds for one in parts if one.to_fetch]
    return Cost(
        expected=sum(one.expected for one in parts),
        answered=sum(one.answered for one in parts),
        to_fetch=sum(one.to_fetch for one in parts),
        requests=None if None in asked else sum(one or 0 for one in asked),
        seconds=None if None in seconds else sum(one or 0.0 for one in seconds),
        bytes=sum(one.bytes for one in parts),
    )
