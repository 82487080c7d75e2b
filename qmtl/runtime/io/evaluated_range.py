"""A range of a series as it was read and judged: rows, states, flags, schema, and where they came from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import polars as pl

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import empty_bars, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import BarStates
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.runtime.conformance.flags import EMPTY_FLAGS, Flags
from qmtl.runtime.conformance.registered_schema import NOT_CHECKED, SchemaCheck
from qmtl.runtime.io.store.values import CoverageRecord

# What Python takes for a range without rows, and for one answer, rounded up.
_EMPTY_BYTES = 4_096
_ANSWER_BYTES = 256

_NO_HOLES = (EMPTY, EMPTY, EMPTY)


class EvaluatedRange:
    """Immutable. `cut` gives any sub-range without copying a row or judging it again.

    A flag depends on a bar and its neighbours in the store, never on the range that was asked for; that is
    why the flags of a part are a part of the flags.
    """

    def __init__(
        self,
        series: SeriesId,
        grid: Grid,
        facts: SeriesFacts,
        frame: pl.DataFrame,
        states: BarStates,
        flags: Flags,
        check: SchemaCheck,
        *,
        answers: Sequence[CoverageRecord],
        tx: int,
        as_of: int,
        valid_until: int | None,
    ) -> None:
        self.series = series
        self.grid = grid
        self.facts = facts
        self.frame = frame
        self.span = states.span
        self.flags = flags
        self.check = check
        self.answers = answers
        self.tx = tx
        self.as_of = as_of
        self.valid_until = valid_until
        self._states: BarStates | None = states
        self._whole_states = states

    @classmethod
    def of_nothing(cls, series: SeriesId, grid: Grid, facts: SeriesFacts, span: Span) -> EvaluatedRange:
        """What is known where the store did not answer: that nobody has answered for any bar."""
        expected = grid.expected(span)
        states = BarStates(span, grid, EMPTY, EMPTY, Coverage.of(span) - expected, EMPTY, expected)
        return cls(
            series,
            grid,
            facts,
            empty_bars(),
            states,
            EMPTY_FLAGS,
            NOT_CHECKED,
            answers=(),
            tx=0,
            as_of=0,
            valid_until=None,
        )

    @property
    def states(self) -> BarStates:
        """The five states over the span."""
        if self._states is None:
            self._states = self._whole_states.clip(self.span)
        return self._states

    @property
    def unknown(self) -> Coverage:
        return self._whole_states.unknown.clip(self.span)

    @property
    def absent(self) -> Coverage:
        return self._whole_states.absent.clip(self.span)

    @property
    def damaged(self) -> Coverage:
        """Unknown bars that the store has lost to damage."""
        return self._whole_states.damaged.clip(self.span)

    @property
    def holes(self) -> tuple[Coverage, Coverage, Coverage]:
        """Its `unknown`, `absent` and `damaged` bars, at sight where there are none."""
        whole = self._whole_states
        if whole.unknown is whole.absent is whole.damaged is EMPTY:
            return _NO_HOLES
        return self.unknown, self.absent, self.damaged

    @property
    def silent(self) -> Coverage:
        """Bars that did not trade although the rhythm of the series makes that implausible."""
        silence = self.flags.spans.get("temporal.silence", EMPTY)
        return silence & self.states.no_trade if silence else EMPTY

    @cached_property
    def _ts(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return stamps(self.frame)

    @cached_property
    def _is_contiguous(self) -> bool:
        """Whether every cell of the span has a row, so that a row's place follows from its time."""
        return self.grid.is_uniform and self.frame.height * self.grid.step == self.span.length

    @property
    def nbytes(self) -> int:
        """About how much memory it takes; never nothing, or a cache of empty ranges would have no bound."""
        spans = sum(len(cells) for _, cells in self.states.items())
        beside = _EMPTY_BYTES + _ANSWER_BYTES * len(self.answers) + 16 * (spans + len(self.flags.ts))
        return int(self.frame.estimated_size()) + beside

    def cut(self, span: Span) -> EvaluatedRange:
        """The part within `span`, which is aligned and lies within this range's span."""
        if span == self.span:
            return self
        if self._is_contiguous:
            first = (span.start - self.span.start) // self.grid.step
            count = (span.end - span.start) // self.grid.step
        else:
            first = int(self._ts.searchsorted(span.start))
            count = int(self._ts.searchsorted(span.end)) - first
        part = object.__new__(EvaluatedRange)
        part.series, part.grid, part.facts = self.series, self.grid, self.facts
        part.span, part.frame = span, self.frame.slice(first, count)
        part.flags = self.flags.clip(span)
        part.check = self.check.within(span) if self.check.violations else self.check
        part.answers, part.tx, part.as_of = self.answers, self.tx, self.as_of
        part.valid_until = self.valid_until
        part._states, part._whole_states = None, self._whole_states
        return part
