"""The same work for several series at once: one bad series stops the others, or it does not."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from qmtl.foundation.collector import collector_paused
from qmtl.foundation.errors import InvalidRequestError, QmtlError, first_of
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import BarStates
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import to_ns
from qmtl.runtime.ingest.backfill_result import OnProgress
from qmtl.runtime.ingest.threads import in_thread
from qmtl.runtime.planning.fetch_state import Finish
from qmtl.runtime.sdk.fetch_context import FetchContext
from qmtl.runtime.sdk.fetching import Fetcher
from qmtl.runtime.sdk.later_answers import Answers, LaterAnswer
from qmtl.runtime.sdk.options import FetchOptions, check_common
from qmtl.runtime.sdk.panel_size import blocks, refuse_too_large, refuse_too_many_rows
from qmtl.runtime.sdk.results import FetchResult
from qmtl.runtime.sdk.results_many import BackfillManyResult, FetchManyResult

T = TypeVar("T")

# How many series of one venue ask a vendor at once; any number wait for live bars.
AT_ONCE = 8


def read_stored(
    fetcher: Fetcher, series: Iterable[str | SeriesId], start: Any, end: Any, options: FetchOptions
) -> Panel:
    """Several fetches, as far as the cache and the store take them; their rows are read together.

    Raises `InvalidRequestError` for what is wrong for all of them alike, for more rows than `max_bytes` has
    room for, and without `partial_ok` the first error.
    """
    # A thousand answers are tens of thousands of objects: the collector would look through the whole program.
    with collector_paused():
        return _read_stored(fetcher, series, start, end, options)


def _read_stored(
    fetcher: Fetcher, series: Iterable[str | SeriesId], start: Any, end: Any, options: FetchOptions
) -> Panel:
    began = fetcher.parts.clock.monotonic()
    fetcher.refuse_unusable()
    names = names_of(series, face="fetch")
    check_common(start, end, options)
    max_staleness = fetcher.look(_first_of(names), options.get("sla"), began)
    panel = Panel(fetcher, names, is_partial=fetcher.is_partial(options.get("partial_ok")))
    opened: dict[str, tuple[FetchContext, Finish | None]] = {}
    for name in names:
        try:
            opened[name] = fetcher.opened_cached(name, start, end, options, max_staleness=max_staleness)
        except QmtlError as error:
            panel.errors[name] = error
    refuse_too_large(
        ((context.profile.grid, context.state.request.closed) for context, _ in opened.values()),
        fetcher.parts.max_bytes,
    )
    fetcher.parts.executor.read_stored(context for context, finish in opened.values() if finish is None)
    read = (context.evaluated for context, _ in opened.values())
    refuse_too_many_rows((one.frame.height for one in read if one is not None), fetcher.parts.max_bytes)
    for name, (context, finish) in opened.items():
        try:
            finish = finish or fetcher.parts.executor.drive_local(context)
            if finish is None:
                panel.waiting[name] = context
            else:
                panel.answers[name] = _answer(fetcher, context, finish)
        except QmtlError as error:
            panel.errors[name] = error
    panel.remember_last()
    panel.raise_first()
    return panel


def _answer(fetcher: Fetcher, context: FetchContext, finish: Finish) -> FetchResult | LaterAnswer:
    later = fetcher.postponed(context, finish)
    if later is None:
        return fetcher.answer(context, finish)
    return LaterAnswer(*later, fetcher.parts.results.pipeline)


def _first_of(names: Iterable[str]) -> SeriesId | None:
    """The first that is a node id; what is none is of its own fetch."""
    for name in names:
        with suppress(InvalidRequestError):
            return SeriesId.parse(name)
    return None


def scan(
    fetcher: Fetcher,
    series: Iterable[str | SeriesId],
    start: Any,
    end: Any,
    options: FetchOptions,
    fetch_many: Callable[[list[str], int, Any], FetchManyResult],
) -> Iterator[FetchManyResult]:
    """The answers of `fetch_many` for one range of time after the other.

    What is wrong for all series alike is raised here, not by the first answer.
    """
    fetcher.refuse_unusable()
    names = names_of(series, face="fetch")
    check_common(start, end, options)
    first, now = to_ns(start, name="start"), fetcher.parts.clock.now()
    last = now if end is None else min(now, to_ns(end, name="end"))
    timeframes = []
    for name in names:
        with suppress(InvalidRequestError):  # of its own fetch, which raises or keeps it
            timeframes.append(SeriesId.parse(name).timeframe)
    # The caller holds one answer while the next is read.
    spans = list(blocks(Span(first, max(first, last)), timeframes, fetcher.parts.max_bytes // 2))
    starts = [span.start for span in spans] or [first]
    # The last one ends where the caller said: what lies behind now takes no memory.
    ends = [*starts[1:], end]
    return (fetch_many(names, *bounds) for bounds in zip(starts, ends, strict=True))


class Panel:
    """Several fetches under way: those that have ended, and those that wait for a vendor or a feed."""

    def __init__(self, fetcher: Fetcher, names: list[str], *, is_partial: bool) -> None:
        self.answers: dict[str, FetchResult | LaterAnswer] = {}
        self.errors: dict[str, QmtlError] = {}
        self.waiting: dict[str, FetchContext] = {}
        self._fetcher = fetcher
        self._names = names
        self._is_partial = is_partial

    def raise_first(self) -> None:
        """Without `partial_ok`, raise the first error; the others stand in its `others`."""
        if self.errors and not self._is_partial:
            raise first_of(self.errors[name] for name in self._names if name in self.errors)

    def remember_last(self) -> None:
        """Let the provider know its newest answer."""
        if self.answers:
            answer = next(reversed(self.answers.values()))
            self._fetcher.last = answer.made() if isinstance(answer, LaterAnswer) else answer

    @property
    def is_done(self) -> bool:
        """Whether no fetch waits for a vendor or a feed."""
        return not self.waiting

    async def finished(self) -> FetchManyResult:
        """All answers, on the provider's own loop: what is cancelled there has ended when that is known."""

        async def one(name: str, place: Place) -> FetchResult:
            context = self.waiting[name]
            # Bars that close together are committed together only if all who wait for them listen.
            context.on_asked = place.leave
            finish = await self._fetcher.driven(context)
            return await in_thread(self._fetcher.answer, context, finish)

        results, errors = await for_each(self.waiting, one, partial_ok=self._is_partial)
        self.answers |= results
        self.errors |= errors
        rows = (answer.frame.height for answer in self.answers.values())
        refuse_too_many_rows(rows, self._fetcher.parts.max_bytes)
        return self.result

    @property
    def result(self) -> FetchManyResult:
        """What there is, in the order asked."""
        return FetchManyResult(
            Answers({name: self.answers[name] for name in self._names if name in self.answers}),
            {name: self.errors[name] for name in self._names if name in self.errors},
        )


def backfill_each(
    fetcher: Fetcher,
    series: Iterable[str | SeriesId],
    start: Any,
    end: Any,
    partial_ok: bool | None,
    on_progress: OnProgress | None,
    progress: bool | None,
) -> Coroutine[Any, Any, BackfillManyResult]:
    """Fill each series, on the provider's own loop."""
    names = names_of(series, face="backfill")
    check_common(start, end, {})

    async def one(name: str, _: Place) -> BarStates:
        context, finish = await asyncio.to_thread(fetcher.to_fill, name, start, end, on_progress, progress)
        if finish is None:
            finish = await fetcher.driven(context)
        return fetcher.states_after(context, finish)

    async def every() -> BackfillManyResult:
        return BackfillManyResult(*await for_each(names, one, partial_ok=fetcher.is_partial(partial_ok)))

    return every()


def names_of(series: Iterable[str | SeriesId], *, face: str) -> list[str]:
    """The node ids, each once, in the order asked. face: the method that takes one series.

    Raises `InvalidRequestError` for what is no collection of node ids. Whether each can be read as one is
    for the work to find out.
    """
    if isinstance(series, str | SeriesId):
        raise InvalidRequestError(
            "this takes several series, and was given one",
            series=series,
            next_step=f"write [{str(series)!r}], or use {face}",
        )
    try:
        every = list(series)
    except TypeError:
        raise InvalidRequestError(
            f"{series!r} is no collection of series", next_step="give a list of node ids"
        ) from None
    for one in every:
        if not isinstance(one, str | SeriesId):
            raise InvalidRequestError(
                f"{one!r} is not a node id", next_step="give texts such as ohlcv:binance:BTC/USDT:1m"
            )
    return list(dict.fromkeys(map(str, every)))


class Place:
    """One of the places of those who work at once: taken until the work has ended, or left before."""

    def __init__(self, room: asyncio.Semaphore) -> None:
        self._room = room
        self._is_taken = False

    async def __aenter__(self) -> Place:
        await self._room.acquire()
        self._is_taken = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Let another one work; more calls change nothing."""
        if self._is_taken:
            self._is_taken = False
            self._room.release()


async def for_each(
    names: Iterable[str], work: Callable[[str, Place], Awaitable[T]], *, partial_ok: bool
) -> tuple[dict[str, T], dict[str, QmtlError]]:
    """The result of `work` per name, and with `partial_ok` the error of each that failed; in order.

    `AT_ONCE` of them are under way at once, and those that have left their place: of each venue, so that one
    that does not answer holds up no other.

    Without `partial_ok` the first error cancels the others, and is raised when they have come to their end;
    those that failed meanwhile stand in its `others`.
    """
    rooms: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))
    errors: dict[str, QmtlError] = {}

    async def one(name: str) -> T | None:
        async with Place(rooms[_venue_of(name)]) as place:
            try:
                return await work(name, place)
            except QmtlError as error:
                if not partial_ok:
                    raise
                errors[name] = error
                return None

    try:
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(one(name)) for name in names}
    except BaseExceptionGroup as several:
        known = [error for error in several.exceptions if isinstance(error, QmtlError)]
        # What is no error of ours is a defect, and comes first.
        raise first_of(known) if len(known) == len(several.exceptions) else _unknown(several) from None
    results = {name: task.result() for name, task in tasks.items() if name not in errors}
    return results, {name: errors[name] for name in tasks if name in errors}  # type: ignore[return-value]


def _venue_of(name: str) -> str:
    series = _first_of([name])
    return "" if series is None else series.venue  # what is no node id ends at once


def _unknown(several: BaseExceptionGroup[BaseException]) -> BaseException:
    return next(error for error in several.exceptions if not isinstance(error, QmtlError))
