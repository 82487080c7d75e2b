"""One series in memory: its state now, and for each commit what leads back to the state before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array, Span
from qmtl.runtime.io.store.rows import NO_ROWS, Rows, find, overlay
from qmtl.runtime.io.store.values import CommitInfo, CoverageRecord


class State(NamedTuple):
    """All that is known of a series at one commit. delivered: when rows that came live had reached us."""

    rows: Rows = NO_ROWS
    records: tuple[CoverageRecord, ...] = ()
    facts: SeriesFacts | None = None
    delivered: Mapping[int, int] = {}  # never changed in place


class Step(NamedTuple):
    """A commit, and how to go back behind it: `added` stamps leave, `gone` rows return."""

    tx: int
    info: CommitInfo
    added: Int64Array
    gone: Rows
    before: State  # its rows are those of no commit: they follow from the rows of now


class MemorySeries:
    """Takes as much memory as its rows now, and what each commit has changed."""

    def __init__(self, series: SeriesId) -> None:
        self.series = series
        self.now = State()
        self.steps: list[Step] = []

    def enter(self, tx: int, info: CommitInfo, after: State, *, added: Int64Array, gone: Rows) -> None:
        """A commit that leads to the state `after`."""
        self.steps.append(Step(tx, info, added, gone, self.now._replace(rows=NO_ROWS)))
        self.now = after

    def at(self, tx: int) -> State:
        """The state at a commit of the store."""
        state = self.now
        for step in reversed(self.steps):
            if step.tx <= tx:
                break
            rows = overlay(state.rows.pick(find(step.added, state.rows.ts) < 0), step.gone)
            state = step.before._replace(rows=rows)
        return state


class AtCommit:
    """What a snapshot is made of: see `SeriesAtCommit`. Memory loses nothing."""

    def __init__(self, series: SeriesId, state: State) -> None:
        self.series = series
        self._records = state.records

    def answers(self, span: Span) -> list[CoverageRecord]:
        return [one for one in self._records if one.start < span.end and one.end > span.start]

    def gone(self) -> Coverage:
        return EMPTY


NO_STAMPS: Int64Array = np.empty(0, np.int64)
