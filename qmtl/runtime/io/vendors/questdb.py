"""A desk's own table in QuestDB as a vendor: it answers for its rows; a bar without a row proves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
import polars as pl

from qmtl.foundation.errors import InvalidRequestError, SourceUnavailableError, StoreError
from qmtl.foundation.frames import stamps
from qmtl.foundation.questdb_table_address import QuestDBTableAddress
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array, Span
from qmtl.foundation.times import SECOND
from qmtl.runtime.io.questdb.desk_table import DeskTable
from qmtl.runtime.io.vendors.base import Page

# Rows that are asked for at once: what is in memory stays bounded, and what is committed together small.
PAGE_ROWS = 32_768

T = TypeVar("T")


class QuestDBVendor:
    """Bars from a table, or a view, of QuestDB, which is only read.

    url: questdb://user:password@host:9000?table=trades_1m&columns=ts=timestamp,open=o,symbol=sym. Columns are
        `ts` (the open of the bar; the designated timestamp of the table), `open`, `high`, `low`, `close` and
        `volume`; one that is not named is called so in the table, and `volume=` says that there is none.
        `symbol` tells whose a row is, as the symbol of the series is written; a table without such a column
        is of one series, named by `&series=ohlcv:desk:GOLD:1d`. `updated_at` tells when a row was written:
        of several rows for a bar the newest holds. Without it two different ones are refused.
    holes: what a bar between the first and the last row of a symbol is, if it has none: "unknown", or
        "no_trade" if the table is known to be complete. Before the first and after the last row nothing is
        answered.
    """

    def __init__(self, url: str, *, holes: Literal["unknown", "no_trade"] = "unknown") -> None:
        if holes not in ("unknown", "no_trade"):
            raise InvalidRequestError(
                f"holes {holes!r} are neither 'unknown' nor 'no_trade'", next_step="use one of them"
            )
        self._url = url
        self._address = QuestDBTableAddress.parse(url)
        self._holes = holes
        self._table = DeskTable(self._address)
        self._known: set[str] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        """For a vendor of another process."""
        return partial(QuestDBVendor, holes=self._holes), (self._url,)

    def __repr__(self) -> str:
        return f"QuestDBVendor({self.name!r})"

    @property
    def name(self) -> str:
        """How receipts and the store call this source."""
        return self._address.shown

    def check(self) -> None:
        """See that the server answers, and the table is as the address says.

        Raises `SourceUnavailableError` and `InvalidRequestError`.
        """
        self._asked(self._table.check)

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        """The part of the table within `span`, in order; what it has no rows for stays unanswered.

        Raises `InvalidRequestError` for a series that it does not have, for rows that contradict each other,
        and where the table is other than the address says; `SourceUnavailableError` where the server does not
        answer.
        """
        known = await asyncio.to_thread(self._answered, series)
        at = span.start
        while at < span.end:
            rest = Span(at, span.end)
            found = await asyncio.to_thread(
                self._asked, partial(self._table.rows, series.symbol, rest, PAGE_ROWS)
            )
            if found.frame.is_empty():
                await asyncio.to_thread(self._must_be_known, series)
            self._must_fit(series, found.frame)
            for page in _pages(series, found.frame, Span(at, found.upto), known):
                yield page
            at = found.upto

    def _answered(self, series: SeriesId) -> Coverage:
        """What is answered for whether there is a row or not. See that the series can be asked for."""
        only = self._address.series
        if only is not None and series != only:
            raise InvalidRequestError(
                f"the table {self._address.table} has no bars of the series",
                series=series,
                why=f"all its rows are of {only}, as the address says",
                next_step=f"ask for {only}, or name a column of symbols: columns=symbol=...",
            )
        self.check()  # each time: a table that was made anew may have other types
        if self._holes == "unknown":
            return EMPTY
        # What the server has taken, and does not show yet, would look like a bar that did not trade.
        self._asked(self._table.settle)
        ends = self._asked(partial(self._table.ends, series.symbol))
        if ends is None:
            self._must_be_known(series)
            return EMPTY
        return Coverage.of(_cells(series, np.array(ends)).hull)

    def _must_be_known(self, series: SeriesId) -> None:
        """A symbol that the table does not have would look like one without rows in this span."""
        symbol = series.symbol
        if self._address.series is not None or symbol in self._known:
            return
        if self._asked(partial(self._table.ends, symbol)) is None:
            self._asked(self._table.settle)  # it may have been taken, and not be shown yet
            alike = self._asked(partial(self._table.symbols_like, symbol))
            raise InvalidRequestError(
                f"the table {self._address.table} has no rows of the symbol {symbol!r}",
                series=series,
                next_step=f"did you mean {' or '.join(alike)}?"
                if alike
                else "write it as the table does; capitals matter",
            )
        self._known.add(symbol)

    def _must_fit(self, series: SeriesId, frame: pl.DataFrame) -> None:
        """Some bars of a shorter timeframe would pass for bars of this one."""
        steps = np.diff(stamps(frame))
        if len(steps) > 1 and (usual := int(np.median(steps))) < series.timeframe.step:
            raise InvalidRequestError(
                f"the rows of the table {self._address.table} are no bars of {series.timeframe}",
                series=series,
                why=f"most of them are {usual / SECOND:g} s apart",
                next_step="name the timeframe of the table in the series",
            )

    def _asked(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except StoreError as failure:
            raise SourceUnavailableError(
                failure.what, source=self.name, why=failure.why, next_step=failure.next_step
            ) from failure


def _pages(series: SeriesId, frame: pl.DataFrame, part: Span, known: Coverage) -> Iterator[Page]:
    """One part of a request: a page for each run that is answered for."""
    ts = stamps(frame)
    for run in (known | _cells(series, ts)).clip(part):
        first, last = np.searchsorted(ts, run).tolist()
        yield Page(frame.slice(first, last - first), run)


def _cells(series: SeriesId, ts: Int64Array) -> Coverage:
    """The bars of rows. One off the clock answers for its instant alone: two must not cover a bar between."""
    timeframe = series.timeframe
    on_clock = (ts - timeframe.origin) % timeframe.step == 0
    return Coverage.from_arrays(ts, ts + np.where(on_clock, timeframe.step, 1))
