"""From when on each bar of a series was known, and with which values at first.

A bar is known from its delivery on, if it came live. One that did not come although the series was being
followed is known from the commit that brought it. All other history was stored long after its time: it is
*assumed* to have been known from the close of each bar on. What a later commit changes is known from that
commit on.

No record says when a series was followed. It is taken to have been from one delivery to the next, where these
lie within `FOLLOWED` steps of each other.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from qmtl.foundation.frames import BAR_SCHEMA, VALUES, bars, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Int64Array, Span
from qmtl.runtime.replay.bars import Gap
from qmtl.runtime.replay.changes import Change, KnownGap, Values

FOLLOWED = 60


class Edit(NamedTuple):
    """What a commit did to one bar of cells that an earlier one had touched.

    at: its time (ns UTC). answered: whether an earlier answer said that nothing had traded. was_delivered,
    delivered: when the old and the new values were delivered, if they came live.
    """

    at: int
    ts: int
    old: Values | None
    new: Values | None
    answered: bool
    was_delivered: int | None
    delivered: int | None


class Log(NamedTuple):
    """What the commits of a series tell.

    touched: which commit touched each cell first, as (start, end, time), sorted. edits: those of the commits
    after it, in order. delivered: of rows that are stored now and came live, (`ts`, when they came), sorted.
    """

    touched: Sequence[tuple[int, int, int]]
    edits: Sequence[Edit]
    delivered: Int64Array


class Counts(NamedTuple):
    """How many bars were known from their delivery, from a commit, or by assumption from their close on."""

    delivered: int = 0
    committed: int = 0
    assumed: int = 0


class KnownRows(NamedTuple):
    """Rows in order of time, as they were known first, and from when on each was."""

    rows: pl.DataFrame
    known: Int64Array


class Knowledge:
    """Reads the rows of one series, a stretch after the other, and says what was known of them when.

    holes: what is missing, by reason, and stays so.
    """

    def __init__(
        self, series: SeriesId, grid: Grid, log: Log, holes: Iterable[tuple[Span, str]] = ()
    ) -> None:
        self._series, self._grid = series, grid
        self._touched = np.array(log.touched or [(0, 0, 0)], dtype=np.int64)
        self._edits: dict[int, list[Edit]] = {}
        for edit in log.edits:
            self._edits.setdefault(edit.ts, []).append(edit)
        self._edited = sorted(self._edits)
        self._delivered = log.delivered
        self._followed = _followed(log, grid.step)
        self._holes = [Gap(series, span, why) for span, why in holes]
        self._waiting = KnownRows(pl.DataFrame(schema=BAR_SCHEMA), np.zeros(0, dtype=np.int64))
        self._changes: list[Change] = []
        self.counts = Counts()

    @property
    def spare(self) -> int:
        """How many rows may be taken back."""
        return sum(edit.new is None for edits in self._edits.values() for edit in edits)

    def read(
        self, rows: pl.DataFrame, span: Span, until: int
    ) -> tuple[KnownRows, list[Change], list[KnownGap]]:
        """Go on with the rows of `span` as they are stored now: what is known of them by `until`, in order.

        What becomes known later, or behind its turn, comes with a later call.
        """
        first, corrected = self._first_values(rows, span)
        times = self._known(first, corrected)
        self._add_changes(first, times)
        every = pl.concat([self._waiting.rows, first], rechunk=True)
        known = np.concatenate([self._waiting.known, times])
        # Known later than some bar behind it: when it comes, it is told as a change of what was there.
        soonest = np.minimum.accumulate(known[::-1])[::-1] if len(known) else known
        late = known > soonest
        # A row that waits may be late in the end; those that are known by now are in order for good.
        now = (known <= until) & ~late
        self._tell_late(every.filter(late), known[late])
        self._waiting = KnownRows(every.filter(~now & ~late), known[~now & ~late])
        found = KnownRows(every.filter(now), known[now])
        due = sorted((one for one in self._changes if one.at <= until), key=lambda one: (one.at, one.ts))
        self._changes = [one for one in self._changes if one.at > until]
        return found, due, self._gaps(found)

    def last_gaps(self, at: int) -> list[KnownGap]:
        """Those that no bar behind them has told of until the run ends at `at` (ns UTC)."""
        left, self._holes = self._holes, []
        spans = {why: Coverage(gap.span for gap in left if gap.why == why) for why in ("unknown", "absent")}
        return [
            KnownGap(at, Gap(self._series, span, why)) for why, cells in spans.items() for span in cells.spans
        ]

    def _first_values(self, rows: pl.DataFrame, span: Span) -> tuple[pl.DataFrame, dict[int, Edit]]:
        """The rows with the values that they had first, and the first edit of those that have any."""
        low, high = bisect_left(self._edited, span.start), bisect_left(self._edited, span.end)
        edited = self._edited[low:high]
        if not edited:
            return rows, {}
        firsts = {ts: self._edits[ts][0] for ts in edited}
        values = [edit.old or edit.new for edit in firsts.values()]
        ts = np.array(edited, dtype=np.int64)
        earlier = bars(ts, dict(zip(VALUES, map(list, zip(*filter(None, values), strict=True)), strict=True)))
        rest = rows.filter(~np.isin(stamps(rows), ts))
        return pl.concat([rest, earlier], rechunk=True).sort("ts"), firsts

    def _known(self, rows: pl.DataFrame, edited: Mapping[int, Edit]) -> Int64Array:
        """From when on each is known, by the rule of this module."""
        ts = stamps(rows)
        closed = self._grid.ends(ts)
        place = np.maximum(np.searchsorted(self._touched[:, 0], ts, "right") - 1, 0)
        committed = np.where(ts < self._touched[place, 1], self._touched[place, 2], 0)
        delivered = np.full(len(ts), -1, dtype=np.int64)
        at = np.searchsorted(self._delivered[:, 0], ts)
        if len(self._delivered):
            at = np.minimum(at, len(self._delivered) - 1)
            delivered = np.where(self._delivered[at, 0] == ts, self._delivered[at, 1], -1)
        is_corrected = np.zeros(len(ts), dtype=bool)
        for row, edit in ((int(np.searchsorted(ts, one)), edit) for one, edit in edited.items()):
            came = edit.delivered if edit.old is None else edit.was_delivered
            delivered[row] = -1 if came is None else came
            if edit.old is None:
                committed[row], is_corrected[row] = edit.at, edit.answered
        is_delivered = delivered >= 0
        is_committed = ~is_delivered & (is_corrected | (self._followed.holds(closed) & (committed > closed)))
        self.counts = Counts(
            self.counts.delivered + int(is_delivered.sum()),
            self.counts.committed + int(is_committed.sum()),
            self.counts.assumed + int((~is_delivered & ~is_committed).sum()),
        )
        since = np.where(is_delivered, delivered, np.where(is_committed, committed, closed))
        found: Int64Array = np.maximum(since, closed)
        return found

    def _add_changes(self, rows: pl.DataFrame, known: Int64Array) -> None:
        """The edits of these rows, but for one that brought the bar."""
        ts = stamps(rows)
        if not len(ts):
            return
        low, high = bisect_left(self._edited, int(ts[0])), bisect_left(self._edited, int(ts[-1]) + 1)
        for one in self._edited[low:high]:
            since = int(known[np.searchsorted(ts, one)])
            edits = self._edits[one]
            for edit in edits[1:] if edits[0].old is None else edits:
                # Nothing changes before it is known.
                since = max(since + 1, edit.at)
                self._changes.append(Change(since, self._series, one, edit.old, edit.new))

    def _tell_late(self, rows: pl.DataFrame, known: Int64Array) -> None:
        ts = stamps(rows)
        for at, one, values in zip(known.tolist(), ts.tolist(), rows.select(VALUES).iter_rows(), strict=True):
            self._changes.append(Change(at, self._series, one, None, values))
        self._holes += [Gap(self._series, span, "unknown") for span in self._grid.cells(ts).spans]

    def _gaps(self, found: KnownRows) -> list[KnownGap]:
        """Those behind which a bar has come: only then is it certain that they are missing."""
        ts = stamps(found.rows)
        told: dict[tuple[int, str], list[Span]] = {}
        left = []
        for gap in self._holes:
            place = int(np.searchsorted(ts, gap.span.end))
            if place < len(ts):
                told.setdefault((int(found.known[place]), gap.why), []).append(gap.span)
            else:
                left.append(gap)
        self._holes = left
        return [
            KnownGap(at, Gap(self._series, span, why))
            for (at, why), spans in sorted(told.items())
            for span in Coverage(spans).spans
        ]


def _followed(log: Log, step: int) -> Coverage:
    """When the series was followed, as far as deliveries tell."""
    of_edits = [at for edit in log.edits for at in (edit.was_delivered, edit.delivered) if at is not None]
    at = np.union1d(log.delivered[:, 1], np.array(of_edits, dtype=np.int64))
    if not len(at):
        return Coverage()
    breaks = np.flatnonzero(np.diff(at) > FOLLOWED * step)
    return Coverage.from_arrays(at[np.append(0, breaks + 1)], at[np.append(breaks, len(at) - 1)] + 1)
