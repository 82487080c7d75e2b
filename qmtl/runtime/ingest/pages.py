"""The pages of a vendor, checked: each keeps the promises of `Page`, or is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Protocol, cast

import polars as pl

from qmtl.foundation.errors import (
    InvalidRequestError,
    MissingDependencyError,
    QmtlError,
    SourceUnavailableError,
)
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import BAR_SCHEMA, TS, VALUES, empty_bars
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import EARLIEST, LATEST, iso
from qmtl.runtime.ingest.foreign import closing, error_text, is_cancelled, log_facts
from qmtl.runtime.ingest.stall_guard import FRUITLESS_PAGES, StallGuard
from qmtl.runtime.io.vendors.base import Page, Vendor
from qmtl.runtime.io.vendors.misplaced_rows import misplaced_rows

_PER_TICK = {"ns": 1, "us": 1_000, "ms": 1_000_000}


class UnfitPageError(SourceUnavailableError):
    """A page with rows that the store cannot hold, without a ts or of other columns; `rows` of them."""

    rows = 0


# Errors of this package that a vendor may raise as its own. Any other, such as one of a provider that it uses
# itself, is about its own work, and would be mistaken for an error of this fetch.
_OWN_ERRORS = (InvalidRequestError, SourceUnavailableError, MissingDependencyError)


async def pages_of(
    vendor: Vendor, series: SeriesId, facts: SeriesFacts, run: Span, *, source: str, guard: StallGuard
) -> AsyncGenerator[Page, None]:
    """The pages of `run`, each with a frame of BAR_SCHEMA (rows in any order); closes the vendor's iterator.

    Raises `SourceUnavailableError` for a page that contradicts itself or the question, for pages that bring
    nothing further until `guard` is spent, and for whatever the vendor raises that is neither an error of
    ours nor a broken connection.
    """
    where = log_facts(series, run)
    async with AsyncExitStack() as opened:
        answers: AsyncIterator[Page] | None = None
        while True:
            try:
                if answers is None:
                    source_pages = closing(aiter(vendor.pages(series, run)), **where, source=source)
                    answers = await opened.enter_async_context(source_pages)
                page = await anext(answers)
            except StopAsyncIteration:
                return
            except _OWN_ERRORS as error:
                error.series = error.series or series.text
                error.span = error.span or run
                raise
            except BaseException as cause:
                # A vendor is foreign code: whatever it raises is its failure, and must not end our loop.
                if isinstance(cause, OSError) and not isinstance(cause, QmtlError):
                    raise
                if isinstance(cause, asyncio.CancelledError) and is_cancelled():
                    raise
                raise _failed(cause, series, run, source) from cause
            page = checked(page, series, facts, run, source)
            guard.read(page.answered)
            yield page
            if guard.is_spent:
                raise _endless(guard, series, run, source)


def _failed(cause: BaseException, series: SeriesId, run: Span, source: str) -> SourceUnavailableError:
    return SourceUnavailableError(
        f"{source} failed",
        source=source,
        series=series,
        span=run,
        why=error_text(cause),
        next_step=f"repair the vendor {source}; what was committed stays",
    )


def _endless(guard: StallGuard, series: SeriesId, run: Span, source: str) -> SourceUnavailableError:
    return SourceUnavailableError(
        f"{source} brings nothing further",
        source=source,
        series=series,
        span=run,
        why=f"{guard.pages} pages were read, and no further bar came with the last {FRUITLESS_PAGES}",
        next_step=f"repair the vendor {source}: its pages must go on, or end; what was committed stays",
    )


def checked(page: Page, series: SeriesId, facts: SeriesFacts, run: Span, source: str) -> Page:
    """The page with a frame of BAR_SCHEMA.

    Raises `SourceUnavailableError` if it breaks a promise, `UnfitPageError` for rows that cannot be stored.
    """

    def refuse(what: str, why: str, rows: int = 0) -> SourceUnavailableError:
        kind = UnfitPageError if rows else SourceUnavailableError
        error = kind(
            f"a page of {source} is refused: {what}",
            source=source,
            series=series,
            span=run,
            why=why,
            next_step=f"repair the vendor {source}; nothing of this page was stored",
        )
        if isinstance(error, UnfitPageError):
            error.rows = rows
        return error

    for value, kind, name in _parts(page):
        if not isinstance(value, kind):
            raise refuse(f"{name} is a {_called(type(value))}", f"it must be a {_called(kind)}")
    if not all(isinstance(end, int) for end in page.answered):
        raise refuse(f"its answered is {tuple(page.answered)!r}", "both ends must be int nanoseconds UTC")
    if not run.contains(page.answered):
        raise refuse(f"it answers for {page.answered}", "that is not within the range it was asked for")
    if page.absent and not page.answered.contains(page.absent.hull):
        raise refuse(f"it calls {page.absent.hull} absent", f"that is not within its answer {page.answered}")
    if page.frame.height == 0:
        return Page(empty_bars(), page.answered, page.absent)
    unfit = partial(refuse, rows=page.frame.height)
    kind_of_ts = page.frame.schema.get("ts")
    if not (isinstance(kind_of_ts, pl.Datetime) and kind_of_ts.time_zone == "UTC"):
        raise unfit(
            f"its ts column is {kind_of_ts}", f"ts must be a UTC datetime column, as in {BAR_SCHEMA['ts']}"
        )
    ticks = page.frame.get_column("ts").cast(pl.Int64)
    low, high = cast("int | None", ticks.min()), cast("int | None", ticks.max())
    if ticks.null_count() or low is None or high is None:
        raise refuse(
            "it has rows without a ts", "a row without a time belongs to no bar", rows=ticks.null_count()
        )
    # In Python's own integers: nanoseconds would wrap around in silence.
    low, high = low * _PER_TICK[kind_of_ts.time_unit], high * _PER_TICK[kind_of_ts.time_unit]
    if low < page.answered.start or high >= page.answered.end:
        raise refuse(*_outside(ticks, _PER_TICK[kind_of_ts.time_unit], low, high, page.answered))
    return Page(_bars(page.frame, facts, unfit), page.answered, page.absent)


def _outside(ticks: pl.Series, per_tick: int, low: int, high: int, answered: Span) -> tuple[str, str]:
    """What is wrong with rows outside their answer, and why that is refused."""
    inside = ticks.is_between(
        -(-answered.start // per_tick), -(-answered.end // per_tick), closed="left"
    ).sum()
    if inside == 0:
        return (
            "no row of it answers the question",
            f"it has {misplaced_rows(len(ticks), low, high, answered)}",
        )
    stray = low if low < answered.start else high
    where = iso(stray) if EARLIEST <= stray <= LATEST else "a time that nanoseconds cannot tell"
    return f"it has a row at {where}", f"that is outside its answer {answered}"


def _called(kind: type) -> str:
    return f"{kind.__module__.partition('.')[0]}.{kind.__name__}".removeprefix("builtins.")


def _parts(page: object) -> list[tuple[object, type, str]]:
    if not isinstance(page, Page):
        return [(page, Page, "it")]
    return [
        (page.frame, pl.DataFrame, "its frame"),
        (page.answered, Span, "its answered"),
        (page.absent, Coverage, "its absent"),
    ]


class _Refuse(Protocol):
    def __call__(self, what: str, why: str) -> SourceUnavailableError: ...


def _bars(frame: pl.DataFrame, facts: SeriesFacts, refuse: _Refuse) -> pl.DataFrame:
    """BAR_SCHEMA of the frame's own columns; others are left out, and nothing is invented or converted."""
    if frame.schema == BAR_SCHEMA:
        return frame
    if facts.has_volume is False and "volume" not in frame.columns:
        frame = frame.with_columns(volume=pl.lit(None, dtype=pl.Float64))
    lacking = [name for name in VALUES if name not in frame.columns]
    if lacking:
        raise refuse(
            f"it has no column {', '.join(lacking)}",
            "a source without volumes must be declared so (has_volume: false)"
            if lacking == ["volume"]
            else f"its columns are {', '.join(frame.columns)}",
        )
    # A column of nothing but nulls has no type of its own yet.
    wrong = [name for name in VALUES if frame.schema[name] not in (pl.Float64, pl.Null)]
    if wrong:
        kinds = ", ".join(f"{name} is {frame.schema[name]}" for name in wrong)
        raise refuse(kinds, "prices and volumes must be Float64")
    return frame.select(pl.col("ts").cast(TS), pl.col(VALUES).cast(pl.Float64))
