"""What a store holds when a run is over: of all that somebody was told, and in the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import qmtl
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import BarStates
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.runtime.coordination.shards import shard_span
from qmtl.runtime.io.coverage_scan import scan_coverage
from qmtl.runtime.io.store.fencing import SHARD_STEPS
from tests.qmtl.stories.fleet.history import Claimed, Completed, Event, Fetched, Queued, Remaining, Reread
from tests.qmtl.stories.fleet.recorders import spans_of


def reread(
    provider: qmtl.SeamlessDataProvider, events: Iterable[Event], violated: Mapping[str, Coverage]
) -> list[Event]:
    """Each answer as of its receipt, each shard as of when it was done, and all that was ever wanted.

    violated: of each series what jobs list as violations.
    """
    events = list(events)
    found: list[Event] = []
    wanted: dict[str, Coverage] = {}
    for event in events:
        if isinstance(event, Fetched | Queued):
            cells = Coverage.of((event.start, event.end))
            wanted[event.series] = wanted.get(event.series, EMPTY) | cells
        if isinstance(event, Fetched) and event.as_of is not None:
            again = provider.fetch(event.series, event.start, event.end, as_of=event.as_of, partial_ok=True)
            states, fingerprint = again.coverage, again.receipt.fingerprint
            found.append(
                Reread(event.series, event.start, event.end, event.as_of, _known(states), fingerprint)
            )
    for series, as_of, span in dict.fromkeys(_told(events)):
        states = _scanned(provider, series, span, as_of)
        found.append(Reread(series, *span, as_of, _known(states), ""))
    for series, cells in wanted.items():
        known = _known(_scanned(provider, series, cells.hull, None))
        found.append(Remaining(series, known, spans_of(violated.get(series, EMPTY))))
    return found


def _told(events: list[Event]) -> Iterator[tuple[str, int, Span]]:
    """Shards that were reported done, and when."""
    for event in events:
        width = 0
        if isinstance(event, Completed | Claimed) and event.as_of is not None:
            width = SHARD_STEPS * SeriesId.parse(event.series).timeframe.step
            for shard in event.shards if isinstance(event, Completed) else (event.shard,):
                yield event.series, event.as_of, shard_span(shard, width)


def _scanned(provider: qmtl.SeamlessDataProvider, series: str, span: Span, as_of: int | None) -> BarStates:
    name = SeriesId.parse(series)
    return scan_coverage(provider.store, name, span, Grid(name.timeframe), now=provider.now(), as_of=as_of)


def _known(states: BarStates) -> tuple[tuple[int, int], ...]:
    return spans_of(states.present | states.no_trade | states.absent)
