"""What a task of an engine does: fill or judge some series, and give back their rollups."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from qmtl.foundation.errors import QmtlError
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.sla import SLAPolicy
from qmtl.foundation.states import states_of_cells
from qmtl.foundation.timeline import EMPTY, Span
from qmtl.runtime.conformance.universe import Failure, SeriesRollup
from qmtl.runtime.io.cache import RangeCache
from qmtl.runtime.sdk.fetch_context import FetchContext
from qmtl.runtime.sdk.fetching import Fetcher
from qmtl.runtime.sdk.recipe import Recipe
from qmtl.runtime.sdk.series_profile import ProfileResolver
from qmtl.runtime.sdk.several import backfill_each
from qmtl.runtime.sdk.wiring import ProviderParts

BACKFILL, REVALIDATE = "backfill", "revalidate"
_NO_BUDGETS = SLAPolicy()


class Group(NamedTuple):
    """Series of one task. start, end: in ns; end=None is the last bar that had closed at `now` (ns)."""

    work: str
    names: tuple[str, ...]
    start: int
    end: int | None
    now: int


Rollups = dict[str, SeriesRollup]


def done(recipe: Recipe, group: Group) -> Rollups:
    """The rollup of each series; what went wrong with one of them is in its own.

    Raises `StoreError` and others where no provider is to be had, and then nothing was done. Doing it again
    is safe: shards are claimed inside, and what was committed is not asked for again.
    """
    with recipe.parts() as parts:
        try:
            return _done(parts, group)
        except QmtlError:
            raise
        except Exception as error:  # noqa: BLE001 - a defect, or memory: it ends no work on other series
            if len(group.names) == 1:
                return {group.names[0]: _failed(error)}
        found: Rollups = {}
        for name in group.names:
            found |= done(recipe, group._replace(names=(name,)))
        return found


def _done(parts: ProviderParts, group: Group) -> Rollups:
    beside = _filled(parts, group) if group.work == BACKFILL else {}
    found = _judged(parts, group)
    for name, one in beside.items():
        found[name] += one
    return {name: found[name] for name in group.names}


def _failed(error: Exception) -> SeriesRollup:
    return SeriesRollup(failures=frozenset({Failure.of(error)}))


def _filled(parts: ProviderParts, group: Group) -> Rollups:
    """What failed as vendors were asked, and what was uncoordinated; nothing of the others."""
    end = group.now if group.end is None else group.end
    fetcher = Fetcher(parts)
    fetcher.begin()
    result = parts.loop.run(backfill_each(fetcher, group.names, group.start, end, True, None, False))
    failed = {name: _failed(error) for name, error in result.errors.items()}
    alone = {name: states.uncoordinated for name, states in result.states.items() if states.uncoordinated}
    return failed | {name: SeriesRollup(uncoordinated=frozenset({why})) for name, why in alone.items()}


def _judged(parts: ProviderParts, group: Group) -> Rollups:
    """What the store holds, judged afresh; reports are archived as by a read. No vendor is asked."""
    fetcher = _afresh(parts)
    fetcher.begin()
    found: Rollups = {}
    contexts: dict[str, FetchContext] = {}
    for name in group.names:
        try:
            contexts[name] = _opened(fetcher, name, group)
        except QmtlError as error:
            found[name] = _failed(error)
    executor = fetcher.parts.executor
    executor.read_stored(contexts.values())
    for name in list(contexts):
        context = contexts.pop(name)  # what was judged is let go
        try:
            finish = executor.drive_local(context)
            assert finish is not None  # FAIL_FAST asks nobody
            result = fetcher.answer(context, finish)
        except QmtlError as error:
            found[name] = _failed(error)
        else:
            not_closed = context.profile.grid.count(result.receipt.not_closed)
            found[name] = SeriesRollup.of(result.report, not_closed)
    return found


def _opened(fetcher: Fetcher, name: str, group: Group) -> FetchContext:
    """A read of one series, which goes to the store next."""
    series = SeriesId.parse(name)
    end = group.end
    if end is None:
        end = max(group.start, fetcher.parts.profiles.of(series).grid.floor(group.now))
    context, _ = fetcher.opened_cached(
        series,
        group.start,
        end,
        {"strategy": "FAIL_FAST", "sla": _NO_BUDGETS, "partial_ok": True, "progress": False},
        max_staleness=0.0,
    )
    return context


def unread(profiles: ProfileResolver, name: str, start: int, end: int | None, now: int) -> SeriesRollup:
    """The bars of a series that nobody could look at: unknown where its calendar expects them.

    Where its calendar cannot be known, each bar of its timeframe is expected; where the name is no node id,
    there are no bars. start, end, now: as in a `Group`.
    """
    try:
        series = SeriesId.parse(name)
    except QmtlError:
        return SeriesRollup()
    try:
        return _unread(profiles.of(series).grid, start, end, now)
    except QmtlError:
        return _unread(Grid(series.timeframe), start, end, now)


def _unread(grid: Grid, start: int, end: int | None, now: int) -> SeriesRollup:
    closed = grid.floor(now)
    states = states_of_cells(
        Span(start, max(start, closed if end is None else end)), grid, EMPTY, EMPTY, EMPTY
    )
    open_from = min(max(closed, states.span.start), states.span.end)
    not_closed = grid.count(states.unknown.clip(Span(open_from, states.span.end)))
    return SeriesRollup({state: count for state, count in states.counts.items() if count}, not_closed)


def _afresh(parts: ProviderParts) -> Fetcher:
    """Reads of a provider without its cache, and without flags that earlier reads have kept."""
    local = replace(parts.executor.local, cache=RangeCache(0), keeper=None)
    return Fetcher(replace(parts, executor=replace(parts.executor, local=local)))


def bars_of(name: str, group_span: int) -> int:
    """About how many bars of a series a range of so many nanoseconds has; 0 for what is no node id."""
    with suppress(QmtlError):
        return group_span // SeriesId.parse(name).timeframe.step
    return 0


def grouped(names: Iterable[str], span: int, *, most: int, bars: int) -> Iterable[tuple[str, ...]]:
    """Names in groups of at most so many series and about so many bars, one group after the other.

    `names` is read as groups are taken. span: in ns.
    """
    group: list[str] = []
    room = bars
    for name in names:
        of_this = bars_of(name, span)
        if group and (len(group) == most or of_this > room):
            yield tuple(group)
            group, room = [], bars
        group.append(name)
        room -= of_this
    if group:
        yield tuple(group)
