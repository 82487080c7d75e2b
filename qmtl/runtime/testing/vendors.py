"""A vendor and a live feed that do what a script says, in memory and in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import polars as pl

from qmtl.foundation.frames import empty_bars, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import DAY
from qmtl.runtime.io.vendors.base import Page, Update
from qmtl.runtime.testing.bars import synthetic_bars


class VendorCall(NamedTuple):
    """One call of a scripted vendor or feed."""

    series: SeriesId
    span: Span


@dataclass(frozen=True, slots=True)
class Raise:
    """The vendor raises `error` instead of the page."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Hang:
    """The vendor never answers. With `deaf` it also swallows the first cancellation, and goes on."""

    deaf: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """The vendor ends here, and does not answer for the rest."""


@dataclass(frozen=True, slots=True)
class Change:
    """The page is handed out as `change(page)` makes it."""

    change: Callable[[Page], Page]


Fault: TypeAlias = Raise | Hang | Stop | Change


class ScriptedVendor:
    """Bars of a deterministic walk (`synthetic_bars`), or of `frames`, in pages, with faults by script.

    frames: what to serve, by node id; BAR_SCHEMA, sorted. A series that is not in it gets synthetic bars.
    page_rows: cells per page; the last page of a call may be shorter. None is one page for the whole span.
    grid: which bars the synthetic market has; None is every bar of the timeframe.
    no_trade / absent: ranges that are answered without a row, and ranges that the vendor says it has not.
    faults: what goes wrong, by page number counted from 0 over the whole life of the vendor. A fault happens
        once: the next page, of whichever call, has the next number.
    delay: seconds of `asyncio.sleep` before each page.

    Inspect `calls` (series and span of each call, in order), `served` (pages handed out), `open_calls`
    (generators that are neither finished nor closed) and `most_at_once` (the most that were ever open).
    """

    def __init__(
        self,
        frames: Mapping[str, pl.DataFrame] | None = None,
        *,
        seed: int = 0,
        grid: Grid | None = None,
        page_rows: int | None = None,
        no_trade: Coverage = EMPTY,
        absent: Coverage = EMPTY,
        faults: Mapping[int, Fault] | None = None,
        delay: float = 0.0,
    ) -> None:
        self.frames = dict(frames or {})
        self.seed = seed
        self.grid = grid
        self.page_rows = page_rows
        self.no_trade = no_trade
        self.absent = absent
        self.faults = dict(faults or {})
        self.delay = delay
        self.calls: list[VendorCall] = []
        self.served = 0
        self.open_calls = 0
        self.most_at_once = 0
        self._page_number = 0
        self._corrections: dict[str, pl.DataFrame] = {}

    def bars(self, series: SeriesId | str, span: Span) -> pl.DataFrame:
        """What this vendor has: the rows that a faultless fetch of `span` must give. BAR_SCHEMA."""
        series = SeriesId.parse(series) if isinstance(series, str) else series
        own = self.frames.get(series.text)
        frame = synthetic_bars(series, span, seed=self.seed, grid=self.grid) if own is None else own
        corrections = self._corrections.get(series.text)
        if corrections is not None:
            frame = pl.concat([frame.join(corrections, on="ts", how="anti"), corrections]).sort("ts")
        ts = stamps(frame)
        kept = (ts >= span.start) & (ts < span.end) & ~(self.no_trade | self.absent).holds(ts)
        return frame if bool(kept.all()) else frame.filter(kept)

    def correct(self, series: SeriesId | str, rows: pl.DataFrame) -> None:
        """From now on the vendor has these rows instead of, or beside, the earlier ones (BAR_SCHEMA)."""
        text = str(series)
        earlier = self._corrections.get(text, empty_bars()).join(rows, on="ts", how="anti")
        self._corrections[text] = pl.concat([earlier, rows]).sort("ts")

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        """Pages in order of time; their `answered` ranges partition `span`."""
        self.calls.append(VendorCall(series, span))
        self.open_calls += 1
        self.most_at_once = max(self.most_at_once, self.open_calls)
        try:
            for part in self._cuts(series, span):
                if self.delay:
                    await asyncio.sleep(self.delay)
                fault = self.faults.get(self._page_number)
                self._page_number += 1
                match fault:
                    case Raise(error):
                        raise error
                    case Hang(deaf):
                        await _hang(deaf)
                    case Stop():
                        return
                page = Page(self.bars(series, part), part, self.absent.clip(part))
                if isinstance(fault, Change):
                    page = fault.change(page)
                self.served += 1
                yield page
        finally:
            self.open_calls -= 1

    def _cuts(self, series: SeriesId, span: Span) -> Iterable[Span]:
        if self.page_rows is None:
            return [span]
        width = self.page_rows * series.timeframe.step
        return (Span(at, min(at + width, span.end)) for at in range(span.start, span.end, width))


async def _hang(deaf: bool) -> None:
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        if not deaf:
            raise


# What can be wrong with a page: give them to `Change`.


def doubled(page: Page) -> Page:
    """Every row twice."""
    return Page(pl.concat([page.frame, page.frame]), page.answered, page.absent)


def contradicting(page: Page) -> Page:
    """The first row comes twice, with two different closes, both possible."""
    first = page.frame.head(1)
    other = first.with_columns(
        close=(pl.col("high") + pl.col("low")) / 2, high=pl.col("high") + 1.0, volume=pl.col("volume") + 1.0
    )
    return Page(pl.concat([page.frame, other]), page.answered, page.absent)


def unsorted(page: Page) -> Page:
    """The same rows, newest first."""
    return Page(page.frame.reverse(), page.answered, page.absent)


def rows_outside(page: Page) -> Page:
    """One row more, a day after what was answered."""
    later = pl.lit(page.answered.length + DAY).cast(pl.Duration("ns"))
    day_later = page.frame.tail(1).with_columns(pl.col("ts") + later)
    return Page(pl.concat([page.frame, day_later]), page.answered, page.absent)


def partly_answered(page: Page) -> Page:
    """The page answers for its first half alone: a short page."""
    rows = page.frame.head(page.frame.height // 2)
    cut = int(stamps(page.frame)[rows.height]) if page.frame.height else page.answered.start
    answered = Span(page.answered.start, cut)
    return Page(rows, answered, page.absent.clip(answered))


def with_value(column: str, value: float, row: int = 0) -> Callable[[Page], Page]:
    """One value of one row is replaced: NaN, infinity, a negative price."""

    def change(page: Page) -> Page:
        values = page.frame[column].to_numpy().copy()
        values[row] = value
        return Page(page.frame.with_columns(pl.Series(column, values)), page.answered, page.absent)

    return change


def high_below_low(page: Page) -> Page:
    """High and low of the first row change places."""
    first = page.frame.head(1).with_columns(high=pl.col("low") - 1.0, low=pl.col("high") + 1.0)
    return Page(pl.concat([first, page.frame.slice(1)]), page.answered, page.absent)


class Deliver(NamedTuple):
    """One line of a feed's script: after `delay` seconds, `frame` (BAR_SCHEMA), final or not."""

    delay: float
    frame: pl.DataFrame
    closed: bool = True


@dataclass
class ScriptedFeed:
    """A live feed that plays its script, once per call, and then stays silent.

    script: `Deliver` lines, or exceptions, which are raised where they stand.
    ends: whether the feed ends after its script, as a real one never should.

    Inspect `calls` (series asked for) and `open_calls` (feeds that are not finished or closed).
    """

    script: Sequence[Deliver | BaseException]
    ends: bool = False
    calls: list[SeriesId] = field(default_factory=list)
    open_calls: int = 0

    async def bars(self, series: SeriesId) -> AsyncIterator[Update]:
        """The updates of the script."""
        self.calls.append(series)
        self.open_calls += 1
        try:
            for line in self.script:
                if isinstance(line, BaseException):
                    raise line
                await asyncio.sleep(line.delay)
                yield Update(line.frame, line.closed)
            if not self.ends:
                await asyncio.get_running_loop().create_future()
        finally:
            self.open_calls -= 1
