"""One fetch while it is under way: what was asked, what is known of it, and what its tiers have at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from qmtl.foundation.states import BarStates
from qmtl.runtime.ingest.backfill_result import NEVER_READ, BackfillResult, OnProgress, ReadAt
from qmtl.runtime.io.evaluated_range import EvaluatedRange
from qmtl.runtime.io.store.values import ChangeToken
from qmtl.runtime.planning.fetch_state import FetchState, Finish
from qmtl.runtime.planning.request import Fill
from qmtl.runtime.sdk.series_profile import SeriesProfile

if TYPE_CHECKING:  # only a fetch that listens needs it
    from qmtl.runtime.ingest.tail import Tail


@dataclass(slots=True, eq=False)
class FetchContext:
    """Owned by one call. Each step replaces `state`, which is a value; nothing is decided here.

    opened: `clock.monotonic()` when the call began. max_staleness: how many seconds what others committed may
    have escaped it. unlooked: where nobody has looked yet, the newest change that is known; whoever reads the
    store looks as well, and takes it away. evaluated: what was read last; states: the same, where no rows are
    read. read_at: the newest commit then. backfill: what the vendor did. tail: the live feed, while
    it is listened to. on_asked: called when vendors are done, and only live bars are waited for.
    """

    profile: SeriesProfile
    state: FetchState
    opened: float
    max_staleness: float = 0.0
    fill: Fill | None = None
    on_progress: OnProgress | None = None
    shows_progress: bool = False
    unlooked: ChangeToken | None = None
    evaluated: EvaluatedRange | None = None
    states: BarStates | None = None
    read_at: ReadAt = NEVER_READ
    backfill: BackfillResult | None = None
    tail: Tail | None = None
    on_asked: Callable[[], None] | None = None

    @property
    def changed_data(self) -> bool:
        """Whether this call added rows to the store, or replaced some."""
        backfill, tail = self.backfill, self.tail
        by_vendor = backfill is not None and (backfill.added > 0 or bool(backfill.replaced))
        return by_vendor or (tail is not None and tail.added > 0)


class FetchEnd(NamedTuple):
    """How a fetch ended: all that its answer, or its error, is made of.

    opened: `clock.monotonic()` when the call began. max_staleness: see `FetchContext`. phases: seconds per
    phase, put in when all else is done.
    evaluated: what was read last; of a store that did not answer in time, that
    nothing is known. backfill: what the vendor did, if one was asked. changed_data: whether this call added
    rows to the store, or replaced some.
    """

    profile: SeriesProfile
    state: FetchState
    finish: Finish
    evaluated: EvaluatedRange
    backfill: BackfillResult | None
    changed_data: bool
    opened: float
    phases: dict[str, float]
    fill: Fill | None
    max_staleness: float = 0.0

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to raise, to archive or to tell of, and no row to be added."""
        evaluated, check = self.evaluated, self.evaluated.check
        return not (
            any(self.finish)
            or evaluated.flags
            or check.violations
            or check.schema is not self.profile.schema.schema  # registered since the rows were read
            or self.backfill is not None
            or self.changed_data
            or self.state.damage_met
            or self.fill is not None
        )

    @property
    def abandoned(self) -> tuple[str, ...]:
        """Names of the sources that ignored their cancellation."""
        return (self.backfill.source,) if self.backfill is not None and self.backfill.abandoned else ()
