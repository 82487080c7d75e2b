"""Bars as a paper run is given them: history first, and then each as it closes, out of the same store.

Feeds are listened to before history is asked for. What has closed by then is history; each cell that ends
later is waited for, and read from the store, to which its feed has brought it. So no cell is lost in between,
and none comes twice. A bar that its feed does not bring is asked of the vendor, if there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

from qmtl.foundation.errors import InvalidRequestError, SeamlessSLAExceeded
from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import LATEST, SECOND, iso
from qmtl.runtime.replay.bars import Gap
from qmtl.runtime.replay.changes import KnownGap
from qmtl.runtime.replay.knowledge import Counts
from qmtl.runtime.replay.moments import Moment, moments
from qmtl.runtime.replay.run import Part
from qmtl.runtime.sdk.listening import Listening
from qmtl.runtime.sdk.run_history import (
    History,
    Source,
    completed,
    read_spans,
    stretches,
)
from qmtl.runtime.sdk.run_parts import Played
from qmtl.runtime.worlds.window import Window


class Paper:
    """Of one run; a context manager that listens until it is left.

    start, end: bars that open within; `end=None` goes on until all feeds have ended. since: up to when an
    earlier process has played it (int ns UTC), 0 for a new run. missed: bars that did not come in time.
    """

    name = "as_of"
    digest = None
    counts = Counts()

    def __init__(self, found: Sequence[Source], start: int, end: int | None, since: int) -> None:
        self._stack = ExitStack()
        self._end, self._since = end, since
        self.missed: list[Gap] = []
        self._sources = found
        self._listening = [_listening(source) for source in found]
        for one in self._listening:
            self._stack.callback(one.close)
        try:
            now = min(one.since for one in self._listening)
            edge = min(_closed(source, now) for source in found)
            if end is not None:
                edge = min(edge, end)
            if edge < start:
                raise InvalidRequestError(
                    f"start {iso(start)} lies behind {iso(edge)}, up to which all series have closed",
                    next_step="begin with a bar that has closed, of each timeframe",
                )
            self._edge = edge
            self.span = Span(start, edge)
            self.histories = [completed(source, self.span) for source in found]
        except BaseException:
            self.close()
            raise

    def spare(self, _: SeriesId) -> int:
        return 0

    def __enter__(self) -> Paper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening."""
        self._stack.close()

    def parts(self) -> Iterator[Played]:
        """Raises `SeamlessSLAExceeded` for a bar that does not come in time, but for inputs that allow it."""
        yield from self._history()
        for one in self._listening:
            one.begin(self._edge)
        grids = {series: grid for history in self.histories for series, grid in history.grids.items()}
        start = self.span.start
        begin = max(self._edge, self._since)
        for moment in moments(grids, self._edge, LATEST if self._end is None else self._end):
            if moment.at <= begin:
                continue
            gaps = self._awaited(moment)
            if gaps is None:
                break
            self.span = Span(
                self.span.start, max(self.span.end, *(cell.end for cell in moment.cells.values()))
            )
            yield self._now(moment, gaps)
        if self._end is not None:
            self.span = Span(start, self._end)
        yield from self._proven()

    def _history(self) -> Iterator[Played]:
        told = self._since
        gaps = [KnownGap(gap.span.end, gap) for history in self.histories for gap in history.gaps]
        gaps = [gap for gap in gaps if gap.at > told]
        for read in stretches(self.histories, self.span):
            if read.until <= told:
                continue
            grids = {series: grid for history in self.histories for series, grid in history.grids.items()}
            rows = {
                series: frame if not told else frame.filter(grids[series].ends(stamps(frame)) > told)
                for series, frame in read.rows.items()
            }
            yield Played(Part(rows, gaps=gaps), read.until, read._replace(receipts=(), findings={}))
            gaps = []

    def _awaited(self, moment: Moment) -> list[Gap] | None:
        """The bars of a moment that do not come; None where no feed brings any bar more."""
        missing: list[tuple[Source, SeriesId, Span, str]] = []
        for source, listening in zip(self._sources, self._listening, strict=True):
            cells = {series: cell for series, cell in moment.cells.items() if series in source.inputs}
            wanted = {series: cell for series, cell in cells.items() if _is_missing(source, series, cell)}
            late = listening.late(cells)
            wanted |= {series: cells[series] for series in late}
            for series, why in listening.wait(wanted).items():
                cell = wanted[series]
                late |= listening.late({series: cell})
                if source.asks(series) and series not in late:
                    source.provider.backfill([series.text], *cell, partial_ok=True)
                if series in late or _is_missing(source, series, cell):
                    missing.append((source, series, cell, why))
        if missing and self._end is None and all(one.is_over for one in self._listening):
            return None
        for source, series, cell, why in missing:
            if not any(one.live_partial for one in source.inputs[series]):
                raise _not_in_time(source, series, cell, why)
        gaps = [Gap(series, cell, "unknown") for _, series, cell, _ in missing]
        self.missed += gaps
        return gaps

    def _now(self, moment: Moment, gaps: Sequence[Gap]) -> Played:
        missing = {gap.series for gap in gaps}
        cells = {series: cell for series, cell in moment.cells.items() if series not in missing}
        read = read_spans([_newest(history) for history in self.histories], cells, moment.at)
        told = [KnownGap(moment.at, gap) for gap in gaps]
        return Played(Part(read.rows, gaps=told), moment.at, read._replace(receipts=(), findings={}))

    def _proven(self) -> Iterator[Played]:
        """What was read, once more, as a run over all of it reads it: the proof is that of such a run."""
        for read in stretches([_partial(_newest(history)) for history in self.histories], self.span):
            yield Played(Part({}), LATEST, read)


def _listening(source: Source) -> Listening:
    lags = {
        series: min((one.max_lag for one in inputs if one.max_lag is not None), default=None)
        for series, inputs in source.inputs.items()
    }
    return source.provider.listen(lags)  # raises where a series has no feed


def _closed(source: Source, now: int) -> int:
    return min(Window().end(source.grid(series, now - 1), now) for series in source.inputs)


def _is_missing(source: Source, series: SeriesId, cell: Span) -> bool:
    return bool(source.provider.coverage(series, *cell).holes)


def _newest(history: History) -> History:
    return history._replace(as_of=history.source.provider.store.newest()[1])


def _partial(history: History) -> History:
    """What was missing while it was followed may be missing still."""
    inputs = {
        series: [one._replace(partial=True) for one in ones] for series, ones in history.source.inputs.items()
    }
    return history._replace(source=history.source._replace(inputs=inputs))


def _not_in_time(source: Source, series: SeriesId, cell: Span, why: str) -> SeamlessSLAExceeded:
    lags: Mapping[str, float | None] = {one.name: one.max_lag for one in source.inputs[series]}
    bound = min((lag for lag in lags.values() if lag is not None), default=None)
    return SeamlessSLAExceeded(
        "a bar is missing that is due",
        phase="max_lag",
        ledger={},
        limit=bound,
        observed=(source.provider.now() - cell.end) / SECOND,
        series=series,
        span=cell,
        why=why,
        next_step="submit the run again once the source has caught up, with the same `resume=`; or raise "
        "max_lag, or allow partial bars",
    )
