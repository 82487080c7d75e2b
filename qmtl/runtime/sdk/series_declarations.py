"""What is declared of each series, from every place where it can be declared; and the grid that follows."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from qmtl.foundation.calendars import calendar_named
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import NOTHING_DECLARED, SeriesFacts, agreed
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.runtime.sdk.profile_table import NO_ROWS, ProfileTable


class StoredFacts(Protocol):
    """The part of a store that knows what was declared of a series."""

    def facts(self, series: SeriesId, *, as_of: int | None = None) -> SeriesFacts | None: ...


class NothingStored:
    """Stands for a store that is not there yet."""

    def facts(self, series: SeriesId, *, as_of: int | None = None) -> SeriesFacts | None:
        return None


class SeriesDeclarations:
    """Facts of series from the store and from the rows of a table; they must not contradict each other.

    What rows declare is written to the store by the first commit that changes data of the series, and never
    by a read. A calendar of the user's own is code, and is never written: it must be handed over each time.
    """

    def __init__(self, store: StoredFacts, table: ProfileTable = NO_ROWS) -> None:
        self._store = store
        self._table = table

    def of(self, series: SeriesId) -> tuple[SeriesFacts, Grid]:
        """The facts of a series and its grid. Raises `InvalidRequestError` where two places disagree."""
        facts = self.combined(series, self._store.facts(series))
        return facts, self.grid(series, facts)

    def at(self, series: SeriesId, as_of: int) -> tuple[SeriesFacts, Grid]:
        """The same at a point in time: what the store declared then holds, whatever is declared now."""
        then = self._store.facts(series, as_of=as_of) or NOTHING_DECLARED
        facts = replace(self.combined(series, None), **then.to_mapping())
        return facts, self.grid(series, facts)

    def grid(self, series: SeriesId, facts: SeriesFacts) -> Grid:
        """The grid of a series of which `facts` hold."""
        try:
            calendar = calendar_named(facts.calendar, self._table.calendars)
        except InvalidRequestError as error:
            error.series = str(series)
            raise
        return Grid(series.timeframe, calendar, facts.anchor or "clock", series)

    def combined(
        self, series: SeriesId, stored: SeriesFacts | None, news: SeriesFacts = NOTHING_DECLARED
    ) -> SeriesFacts:
        """What the store and the rows declare together; and `news`, of an import."""
        rows = self._table.declared(series).items()
        return agreed(series, [("the store", stored), *rows, ("this import", news)])
