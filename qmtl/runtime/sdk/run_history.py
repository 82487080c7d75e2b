"""The history of a run: made complete, pinned to one commit of each store, and read a stretch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import polars as pl

from qmtl.foundation.errors import InvalidRequestError, MissingDataError, first_of
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import BarStates
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, iso
from qmtl.foundation.words import counted
from qmtl.runtime.conformance.findings import Finding
from qmtl.runtime.replay.bars import Gap
from qmtl.runtime.sdk.bound_inputs import BoundInput
from qmtl.runtime.sdk.panel_size import ROW_BYTES, blocks
from qmtl.runtime.sdk.provider import SeamlessDataProvider

# Rows that are read at once. The same everywhere: a proof names what was read, stretch by stretch.
_ROWS_AT_ONCE = 200_000

# How far back bars before the start are sought, in windows: over closures, and bars that did not trade.
_WINDOWS_BACK = 64
_DAYS_BACK = 14


class Source(NamedTuple):
    """A provider, and the inputs that take bars from it, by series: several where they share one.

    as_of: the commit time (ns) at which all of it is read, if the run names one; then no vendor is asked.
    """

    provider: SeamlessDataProvider
    inputs: dict[SeriesId, list[BoundInput]]
    as_of: int | None = None

    def earlier(self, series: SeriesId) -> int:
        """How many bars of it have to be there before the first one that is delivered."""
        return max(one.earlier for one in self.inputs[series])

    def is_partial(self, series: SeriesId) -> bool:
        """Whether missing bars are gaps."""
        return any(one.partial for one in self.inputs[series])

    def asks(self, series: SeriesId) -> bool:
        """Whether a vendor may be asked."""
        return (
            self.as_of is None
            and all(one.asks for one in self.inputs[series])
            and self.provider.has_vendor(series)
        )

    def states(self, series: SeriesId, span: Span) -> BarStates:
        """The states of its bars, as they are stored."""
        return self.provider.coverage(series, *span, as_of=self.as_of)

    def grid(self, series: SeriesId, start: int) -> Grid:
        """The grid of its bars."""
        return self.states(series, Span(start, start + 1)).grid


class History(NamedTuple):
    """A source whose bars are as complete as they will be.

    as_of: the commit (ns) at which all of it is read. earlier: by series, where the bars begin that fill its
    windows before the start.
    """

    source: Source
    as_of: int
    grids: Mapping[SeriesId, Grid]
    earlier: Mapping[SeriesId, int]
    gaps: Sequence[Gap]


class RangeRead(Protocol):
    """What a proof names of a range that was read; a `Receipt` has it all."""

    @property
    def series(self) -> SeriesId: ...
    @property
    def span(self) -> Span: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def as_of(self) -> int: ...
    @property
    def schema_id(self) -> str: ...


class Stretch(NamedTuple):
    """The rows of all series that open before `until` (int ns UTC), behind those of before."""

    until: int
    rows: Mapping[SeriesId, pl.DataFrame]
    receipts: Sequence[RangeRead]
    findings: Mapping[str, Sequence[Finding]]  # by node id, of series whose rows do not pass


def sources(inputs: Sequence[BoundInput], as_of: Mapping[SeriesId, int] | int | None) -> list[Source]:
    """By provider, in the order in which inputs name them. Raises `InvalidRequestError`.

    as_of: the commit time of all, or of each series: those of one provider are read at one.
    """
    found: dict[int, Source] = {}
    owners: dict[SeriesId, BoundInput] = {}
    for one in inputs:
        pinned = as_of if not isinstance(as_of, Mapping) else as_of.get(one.series[0], max(as_of.values()))
        source = found.setdefault(id(one.provider), Source(one.provider, {}, pinned))
        for series in one.series:
            owner = owners.setdefault(series, one)
            if owner.provider is not one.provider:
                raise InvalidRequestError(
                    f"inputs {owner.name!r} and {one.name!r} take one series from two providers",
                    series=series,
                    next_step="give both inputs the same provider",
                )
            source.inputs.setdefault(series, []).append(one)
    return list(found.values())


def end_of(source: Source, start: int) -> int:
    """Where history ends now: behind the newest bar that has closed in all series, and is not held back."""
    now = source.provider.now()
    return min(
        one.history.end(source.grid(series, start), now)
        for series, inputs in source.inputs.items()
        for one in inputs
    )


def completed(source: Source, span: Span) -> History:
    """Ask for what is missing, also of the bars that fill windows before `span`.

    Raises what a backfill raises, and `MissingDataError` for bars that nobody has.
    """
    grids = {series: source.grid(series, span.start) for series in source.inputs}
    earlier, errors, gaps = {}, [], []
    for series, inputs in source.inputs.items():
        for one in inputs:
            one.history.warmup_start(grids[series], span.start)  # raises where it is longer than history
        try:
            earlier[series] = _start_of_windows(source, grids[series], series, span.start)
        except MissingDataError as error:
            errors.append(error)
    states = _filled(source, list(grids), span) if span.end > span.start else {}
    for series in grids if states else ():
        holes = _holes(states[series.text], span)
        if source.is_partial(series):
            gaps += [Gap(series, cells, why) for why, found in holes.items() for cells in found.spans]
        elif any(holes.values()):
            errors.append(_missing(series, states[series.text], holes, "bars of the run are missing"))
    if errors:
        raise first_of(errors if source.as_of is None else [_of_then(error) for error in errors])
    as_of = source.provider.store.newest()[1] if source.as_of is None else source.as_of
    return History(source, as_of, grids, earlier, gaps)


def further_back(history: History, series: SeriesId, start: int, bars: int) -> tuple[int, int]:
    """Where the last `bars` bars before `start` begin, or as many as there are, and how far was looked.

    Without holes, but for inputs that allow them.
    """
    grid, source = history.grids[series], history.source
    span = grid.align(Span(start - max(bars * grid.step * _WINDOWS_BACK, _DAYS_BACK * DAY), start))
    states = source.provider.coverage(series, *span, as_of=history.as_of)
    if states.holes and not source.is_partial(series):
        span = Span(states.holes.hull.end, start)
    stamps = grid.stamps(states.present.clip(span))
    if len(stamps) >= bars:
        return int(stamps[-bars]), int(stamps[-bars])
    return int(stamps[0]) if len(stamps) else start, span.start


def stretches(histories: Sequence[History], span: Span) -> Iterator[Stretch]:
    """The bars before `span` that fill windows, then those of it, cut at the same times for all.

    Raises as a fetch does, but for what inputs with `allow_partial` lack.
    """
    yield read_spans(
        histories,
        {s: Span(first, span.start) for h in histories for s, first in h.earlier.items()},
        span.start,
    )
    timeframes = [series.timeframe for history in histories for series in history.grids]
    for part in blocks(span, timeframes, ROW_BYTES * max(_ROWS_AT_ONCE, len(timeframes))):
        yield read_spans(histories, {s: part for h in histories for s in h.grids}, part.end)


def read_spans(histories: Sequence[History], spans: Mapping[SeriesId, Span], until: int) -> Stretch:
    """The rows of these series; see `stretches`."""
    rows: dict[SeriesId, pl.DataFrame] = {}
    receipts: list[RangeRead] = []
    findings = {}
    for history in histories:
        source = history.source
        # Series of one span are read together; those before the start begin where each needs it.
        kinds: dict[tuple[Span, bool], list[str]] = {}
        for series in (one for one in history.grids if one in spans):
            kinds.setdefault((spans[series], source.is_partial(series)), []).append(series.text)
        for (of, is_partial), names in kinds.items():
            # What holes and findings do otherwise is what the provider, or a preset, says.
            read = source.provider.fetch_many(
                names, *of, as_of=history.as_of, partial_ok=True if is_partial else None
            )
            for name, result in read.results.items():
                rows[SeriesId.parse(name)] = result.frame
                receipts.append(result.receipt)
                if not result.report.passes:
                    findings[name] = [one for one in result.report.findings if one.raises]
            if read.errors:
                raise first_of(read.errors.values())
    return Stretch(until, rows, receipts, findings)


def _start_of_windows(source: Source, grid: Grid, series: SeriesId, start: int) -> int:
    """Where the last `window` bars begin that close by `start`. Raises `MissingDataError` for fewer."""
    window = source.earlier(series)
    back = max(_WINDOWS_BACK * window * grid.step, _DAYS_BACK * DAY)
    asked, states, reach = 0, None, window * grid.step
    while asked < back:
        asked = min(reach, back)
        span = grid.align(Span(start - asked, start))
        reach *= 2
        if grid.count(grid.expected(span)) < window and asked < back:
            continue  # the calendar alone says that they are too few
        states = _filled(source, [series], span)[series.text]
        stamps = grid.stamps(states.present)
        stamps = stamps[grid.ends(stamps) <= start]
        if len(stamps) >= window:
            first = int(stamps[-window])
            holes = _holes(states, Span(first, start))
            if any(holes.values()) and not source.is_partial(series):
                raise _missing(series, states, holes, "bars before the start are missing, which windows need")
            return first
    assert states is not None
    if source.is_partial(series):
        return int(stamps[0]) if len(stamps) else start
    expected = grid.stamps(grid.expected(states.span))
    needed = Span(int(expected[-window]) if len(expected) >= window else states.span.start, start)
    raise _missing(
        series,
        states,
        _holes(states, needed),
        f"of the {counted(window, 'bar')} before {iso(start)} that windows need there are {len(stamps):,}",
    )


def _filled(source: Source, series: Sequence[SeriesId], span: Span) -> dict[str, BarStates]:
    """The states of all bars, by node id, after what vendors there are were asked for what is missing."""
    states = {one.text: source.states(one, span) for one in series}
    wanted = [one.text for one in series if states[one.text].holes and source.asks(one)]
    if not wanted:
        return states
    partial = all(source.is_partial(SeriesId.parse(name)) for name in wanted) or None
    return {**states, **source.provider.backfill(wanted, *span, partial_ok=partial).states}


def _holes(states: BarStates, span: Span) -> dict[str, Coverage]:
    return {why: getattr(states, why).clip(span) for why in ("unknown", "absent")}


def _of_then(error: MissingDataError) -> MissingDataError:
    """What is stored now does not help a run that is pinned to a commit."""
    error.next_step = "leave out `as_of=` to read what is stored now, or begin later"
    return error


def _missing(
    series: SeriesId, states: BarStates, holes: Mapping[str, Coverage], what: str
) -> MissingDataError:
    every = holes["unknown"] | holes["absent"]
    hull = every.hull if every else states.span
    return MissingDataError(
        what,
        holes=holes,
        series=series,
        span=hull,
        why=", ".join(
            f"{counted(states.grid.count(cells), 'bar')} {why}" for why, cells in holes.items() if cells
        )
        or "nothing traded there",
        next_step=f"fill it: qmtl backfill {series} {iso(hull.start)} {iso(hull.end)}; or begin later, or "
        "declare `allow_partial=True` for its input",
    )
