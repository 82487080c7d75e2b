"""Bulk work on any number of series: planned lazily, done by an engine or in a loop, reported as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import iso, to_ns
from qmtl.runtime.conformance.universe import Failure, SeriesRollup, UniverseReport, merge_into
from qmtl.runtime.coordination.engine_runs import EngineRun, Lost
from qmtl.runtime.planning.request import check_range
from qmtl.runtime.sdk.recipe import Recipe
from qmtl.runtime.sdk.several import AT_ONCE
from qmtl.runtime.sdk.universe_tasks import BACKFILL, Group, Rollups, done, grouped, unread
from qmtl.runtime.sdk.wiring import ProviderParts

# Of one task. A backfill asks for this many series at a time; judging more at once is quicker.
_SERIES = {BACKFILL: AT_ONCE, "revalidate": 32}
_BARS = 500_000


def over_universe(
    parts: ProviderParts,
    made_of: Mapping[str, Any],
    work: str,
    series: str | SeriesId | Iterable[str | SeriesId],
    start: Any,
    end: Any,
    executor: Executor | None,
    on_done: Callable[[UniverseReport], None] | None = None,
) -> UniverseReport:
    """See `SeamlessDataProvider.backfill_many` and `revalidate`. made_of: what the parts were made of."""
    now = parts.clock.now()
    first, last = _range(start, end, now)
    names = names_in(series, lambda: (one.series.text for one in parts.store.list_series()))
    span = Span(first, now if last is None else last)
    groups = (
        Group(work, names, first, last, now)
        for names in grouped(names, span.length, most=_SERIES[work], bars=_BARS)
    )
    recipe = Recipe.of(parts, made_of)
    found: Rollups = {}
    for part in _parts(executor, recipe, groups):
        # Whatever ended the work on a series before its bars were looked at, they are missing all the same.
        for name, one in part.items():
            if one.failures and not one.states:
                part[name] = one + unread(parts.profiles, name, first, last, now)
        merge_into(found, part)
        if on_done is not None:
            on_done(UniverseReport(work, span, part))
    return UniverseReport(work, span, found)


def _parts(executor: Executor | None, recipe: Recipe, groups: Iterable[Group]) -> Iterator[Rollups]:
    if executor is None:
        for group in groups:
            yield done(recipe, group)
        return
    run: EngineRun[Group, Rollups] = EngineRun(
        executor, partial(done, recipe), split=_split, unsendable=recipe.unsendable
    )
    for group, result in run.results(groups):
        if isinstance(result, Lost):
            lost = frozenset({_failure(result)})
            yield dict.fromkeys(group.names, SeriesRollup(failures=lost))
        elif not _is_of(group, result):
            raise InvalidRequestError(
                "the executor does not give what its work has returned",
                why=f"its future gave {type(result).__name__} for a task",
                next_step="give an executor whose futures have the result of the function that was submitted",
            )
        else:
            yield result


def _is_of(group: Group, given: object) -> bool:
    """Whether an executor of somebody's own gives what its task has returned."""
    return isinstance(given, dict) and given.keys() == set(group.names)


def _split(group: Group) -> Iterator[Group]:
    return (group._replace(names=(name,)) for name in group.names)


def _failure(lost: Lost) -> Failure:
    return Failure(
        "WorkerLost",
        f"no worker has come to an end with it, in {lost.attempts} attempts"
        if lost.attempts
        else "the engine takes no more work",
        f"{lost.kind}: {lost.why}"[:300],
        "run it again: what was committed stays; the logs of the engine's workers say more",
    )


def _range(start: Any, end: Any, now: int) -> tuple[int, int | None]:
    """What is wrong for all series alike is raised here."""
    first = to_ns(start, name="start")
    last = None if end is None else to_ns(end, name="end")
    if last is not None:
        check_range(first, last)
    if first >= now:
        raise InvalidRequestError(
            f"the range from {iso(first)} on lies wholly in the future",
            why=f"it is {iso(now)} now",
            next_step="ask for a range that has begun",
        )
    return first, last


def names_in(
    series: str | SeriesId | Iterable[str | SeriesId], stored: Callable[[], Iterable[str]]
) -> Iterator[str]:
    """Node ids, each once; a text with `*` or `?` stands for the stored series that it matches.

    Whether each can be read as a node id is for the work to find out.
    """
    if isinstance(series, str | SeriesId):
        series = [series]
    elif not isinstance(series, Iterable):
        raise InvalidRequestError(
            f"{series!r} is no collection of series",
            next_step="give node ids, or a pattern such as ohlcv:binance:*",
        )
    return _names_in(series, stored)


def _names_in(series: Iterable[str | SeriesId], stored: Callable[[], Iterable[str]]) -> Iterator[str]:
    seen: set[str] = set()
    for one in series:
        if not isinstance(one, str | SeriesId):
            raise InvalidRequestError(
                f"{one!r} is not a node id", next_step="give texts such as ohlcv:binance:BTC/USDT:1m"
            )
        text = str(one)
        matches: Iterable[str] = [text]
        if "*" in text or "?" in text:
            matches = sorted(name for name in stored() if fnmatchcase(name, text))
            if not matches:
                raise InvalidRequestError(
                    f"no stored series matches {text!r}",
                    next_step="'qmtl store info' names those that are stored; name others one by one",
                )
        for name in matches:
            if name not in seen:
                seen.add(name)
                yield name
