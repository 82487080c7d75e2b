"""History as a run is given it: all of it at one commit, or each bar as it was known at its time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from blake3 import blake3

from qmtl.foundation.errors import MissingDataError
from qmtl.foundation.frames import VALUES
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import LATEST, iso
from qmtl.foundation.words import counted
from qmtl.runtime.replay.bars import Gap
from qmtl.runtime.replay.changes import Change, KnownGap
from qmtl.runtime.replay.knowledge import Counts, Knowledge
from qmtl.runtime.replay.run import Part
from qmtl.runtime.sdk.known_history import log_of
from qmtl.runtime.sdk.run_history import History, Stretch, further_back, stretches

# Bars that are read before those that windows need.
_MORE = 64


class Played(NamedTuple):
    """A part of a run, up to `until` (int ns UTC), and what was read for it."""

    part: Part
    until: int
    read: Stretch


class AsOf:
    """All bars as they are stored at one commit. read: what was read of them already."""

    name = "as_of"
    digest = None
    counts = Counts()
    missed: Sequence[Gap] = ()

    def __init__(
        self, histories: Sequence[History], span: Span, read: Sequence[Stretch] | None = None
    ) -> None:
        self.histories, self.span = histories, span
        self._read = read

    def spare(self, _: SeriesId) -> int:
        return 0

    def parts(self) -> Iterator[Played]:
        span = self.span
        gaps = [KnownGap(gap.span.end, gap) for history in self.histories for gap in history.gaps]
        for read in stretches(self.histories, span) if self._read is None else self._read:
            until = LATEST if read.until == span.end else read.until
            yield Played(Part(read.rows, gaps=gaps), until, read)
            gaps = []


class AsKnown:
    """Each bar from when on it was known, with the values that it had then."""

    name = "as_known"
    missed: Sequence[Gap] = ()

    def __init__(self, histories: Sequence[History], span: Span) -> None:
        self._hasher = blake3()
        self.histories, self.span = histories, span
        self._histories: list[History] = []
        self._known: dict[SeriesId, Knowledge] = {}
        self._reach: dict[SeriesId, int] = {}  # from where on commits are looked at
        for history in histories:
            earlier = {}
            for series in history.grids:
                earlier[series], self._reach[series], self._known[series] = _knowledge(history, series, span)
            self._histories.append(history._replace(earlier=earlier))

    @property
    def digest(self) -> str:
        """The hash of all that the run was given so far, and of when."""
        return f"blake3:{self._hasher.hexdigest()}"

    @property
    def counts(self) -> Counts:
        """Of all bars so far, those of windows before the start included."""
        of_series = [known.counts for known in self._known.values()]
        return Counts(*map(sum, zip(*of_series, strict=True)))

    def spare(self, series: SeriesId) -> int:
        """How many rows of a series may be taken back."""
        return self._known[series].spare

    def parts(self) -> Iterator[Played]:
        """Raises `MissingDataError` where too few bars were known at the start."""
        span = self.span
        order = {series: place for place, series in enumerate(self._known)}
        for read in stretches(self._histories, span):
            spans = {receipt.series: receipt.span for receipt in read.receipts}
            rows, known = {}, {}
            changes: list[Change] = []
            gaps: list[KnownGap] = []
            for series, frame in read.rows.items():
                of = spans[series]
                if read.until == span.start:
                    of = Span(self._reach[series], of.end)
                found, changed, told = self._known[series].read(frame, of, read.until)
                rows[series], known[series] = found
                changes += changed
                gaps += told
                if read.until == span.end:
                    gaps += self._known[series].last_gaps(span.end)
                self._hasher.update(series.text.encode() + found.known.astype("<i8").tobytes())
                for name in VALUES:
                    self._hasher.update(found.rows[name].to_numpy().astype("<f8").tobytes())
            changes.sort(key=lambda one: (one.at, order[one.series], one.ts))
            for change in changes:
                self._hasher.update(f"{change.series} {change.at} {change.ts} ".encode())
                self._hasher.update(np.array(change.new or (), dtype="<f8").tobytes())
            part = Part(rows, known, changes, [gap for gap in gaps if gap.gap.span.end > span.start])
            if read.until == span.start:
                _check_windows(self._histories, part, span.start)
            yield Played(part, read.until, read)


def _knowledge(history: History, series: SeriesId, span: Span) -> tuple[int, int, Knowledge]:
    """What is known of a series, and before that where its bars begin: more of them than windows need."""
    grid, first = history.grids[series], history.earlier[series]
    holes = [(gap.span, gap.why) for gap in history.gaps if gap.series == series]
    store = history.source.provider.store

    def known(start: int) -> Knowledge:
        log = log_of(store, series, Span(min(start, span.start), span.end), history.as_of)
        return Knowledge(series, grid, log, holes)

    # As many more as may be taken back, and some that may not have been known yet.
    more, reach = further_back(history, series, first, known(first).spare + _MORE)
    return more, reach, known(reach)


def _check_windows(histories: Sequence[History], part: Part, start: int) -> None:
    for history in histories:
        for series in history.grids:
            source = history.source
            wanted = source.earlier(series)
            there = part.rows[series].height
            for change in part.changes:
                if change.series == series:
                    there += (change.old is None) - (change.new is None)
            if there < wanted and not source.is_partial(series):
                raise MissingDataError(
                    f"of the {counted(wanted, 'bar')} before {iso(start)} that windows need {there:,} were "
                    "known then",
                    holes={},
                    series=series,
                    span=Span(history.earlier[series], start),
                    why="others came later, or were taken back",
                    next_step="begin later, or declare `allow_partial=True` for its input",
                )
