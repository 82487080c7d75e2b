"""The five states of every expected bar: present, no_trade, closed, absent, unknown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np

from qmtl.foundation.grid import Grid
from qmtl.foundation.pickled import pickled
from qmtl.foundation.state_bar import states_html
from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array, Span

STATES = ("present", "no_trade", "closed", "absent", "unknown")


@dataclass(frozen=True)
class BarStates:
    """A partition of the grid over the aligned `span`; each state is a `Coverage` of whole cells.

    present: a row exists (even where the calendar is closed).
    no_trade: the source answered for the bar, and there was none.
    closed: the calendar expects no bar.
    absent: the source says that it has none; asked again only after an expiry.
    unknown: no source has answered.

    damaged: those unknown bars whose rows or answers the store has lost; no state of its own.
    uncoordinated: of a backfill, why other machines may have asked for the same bars, although there is a
    coordinator.
    """

    span: Span
    grid: Grid
    present: Coverage
    no_trade: Coverage
    closed: Coverage
    absent: Coverage
    unknown: Coverage
    damaged: Coverage = EMPTY
    uncoordinated: str | None = field(default=None, compare=False)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Bars per state."""
        return {name: self.grid.count(cells) for name, cells in self.items()}

    @property
    def holes(self) -> Coverage:
        """What a complete answer may not have: absent and unknown bars."""
        return self.absent | self.unknown

    def items(self) -> Iterator[tuple[str, Coverage]]:
        return ((name, getattr(self, name)) for name in STATES)

    def clip(self, span: Span) -> BarStates:
        """The same states over a sub-range, aligned to the grid."""
        span = self.grid.align(span)
        present, no_trade, closed, absent, unknown = (cells.clip(span) for _, cells in self.items())
        damaged = self.damaged.clip(span)
        cut = (present, no_trade, closed, absent, unknown, damaged)
        return BarStates(span, self.grid, *cut, self.uncoordinated)

    def __reduce__(self) -> tuple[Any, ...]:
        return pickled(BarStates, *(getattr(self, part.name) for part in fields(self)))

    def _repr_html_(self) -> str:
        return states_html(self)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {count:,}" for name, count in self.counts.items() if count)
        return f"BarStates({self.span}: {shown or 'no bars'}{uncoordinated_words(self.uncoordinated)})"


def uncoordinated_words(why: str | None) -> str:
    """Behind what else is said of a backfill; empty for one that was coordinated."""
    return "" if why is None else f"; uncoordinated: {why}"


def bar_states(
    span: Span,
    grid: Grid,
    present_ts: Int64Array,
    answered: Coverage,
    absent: Coverage,
    damaged: Coverage = EMPTY,
) -> BarStates:
    """Sort the cells of `span` into states.

    `present_ts` are the stamps of the rows within the span (ascending, unique); `answered` and `absent` are
    what sources answered, in any partition. A bar is answered only if its whole cell was. A row takes
    precedence over an answer without one, an answer over an absence; the calendar decides the rest. `damaged`
    is what the store has lost.
    """
    return states_of_cells(span, grid, grid.cells(present_ts), answered, absent, damaged)


def states_of_cells(
    span: Span,
    grid: Grid,
    present: Coverage,
    answered: Coverage,
    absent: Coverage,
    damaged: Coverage = EMPTY,
) -> BarStates:
    """As `bar_states`, from the cells of the rows instead of their stamps."""
    span = grid.align(span)
    if full := states_if_full(span, grid, present):
        return full
    whole, expected = Coverage.of(span), grid.expected(span)
    closed = whole - expected - present
    open_cells = expected - present
    answered = whole_cells(answered, grid, span)
    no_trade = open_cells & answered
    absent_cells = (open_cells & whole_cells(absent, grid, span)) - no_trade
    unknown = open_cells - no_trade - absent_cells
    return BarStates(span, grid, present, no_trade, closed, absent_cells, unknown, damaged & unknown)


def states_if_full(span: Span, grid: Grid, present: Coverage) -> BarStates | None:
    """The states where each cell of the aligned `span` has a row; None where one has none."""
    if len(present) != 1 or present.spans[0] != span:
        return None
    return BarStates(span, grid, present, EMPTY, EMPTY, EMPTY, EMPTY)


def whole_cells(answered: Coverage, grid: Grid, span: Span) -> Coverage:
    """Those cells of `span` that lie wholly within `answered`."""
    answered = answered.clip(span)
    if answered.spans == (span,):
        return answered
    starts = grid.ceils(answered.starts)
    ends = np.where(answered.ends < span.end, grid.floors(answered.ends), answered.ends)
    whole = starts < ends
    return Coverage.from_arrays(starts[whole], ends[whole])
