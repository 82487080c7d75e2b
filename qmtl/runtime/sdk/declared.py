"""What is declared of each series, from every place where it can be declared; and the grid that follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from qmtl.foundation.calendars import Calendar, calendar_named
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import NOTHING_DECLARED, OwnCalendar, SeriesFacts, agreed
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.runtime.sdk.patterns import first_match


class StoredFacts(Protocol):
    """The part of a store that tells what was declared of a series."""

    def facts(self, series: SeriesId, *, as_of: int | None = None) -> SeriesFacts | None: ...


class NothingStored:
    """Stands for a store that is not there yet."""

    def facts(self, series: SeriesId, *, as_of: int | None = None) -> SeriesFacts | None:
        return None


class Declared:
    """Facts of series from the store, from settings and from Python; they must not contradict each other.

    calendars: patterns to a calendar's name, or to a calendar of the user's own.
    settings: patterns to facts, as `seamless.series` of qmtl.yml gives them.

    What settings and Python declare is written to the store by the first commit that changes data of the
    series, and never by a read. A calendar of the user's own is code, and is never written: it must be handed
    over each time.
    """

    def __init__(
        self,
        store: StoredFacts,
        calendars: Mapping[str, str | Calendar],
        settings: Iterable[tuple[str, SeriesFacts]] = (),
    ) -> None:
        self._store = store
        for pattern, value in calendars.items():
            if not isinstance(value, str | Calendar):
                raise InvalidRequestError(
                    f"the calendar of {pattern!r} is a {type(value).__name__}",
                    next_step="give a name such as XNYS, or an object with sessions(span)",
                )
        self._own = {pattern: value for pattern, value in calendars.items() if not isinstance(value, str)}
        names = {p: value if isinstance(value, str) else OwnCalendar(p) for p, value in calendars.items()}
        self._sources = (
            ("calendars=", [(p, SeriesFacts(calendar=name)) for p, name in names.items()]),
            ("seamless.series", list(settings)),
        )
        self._known: dict[str, tuple[SeriesFacts, Grid]] = {}  # by node id

    def of(self, series: SeriesId) -> tuple[SeriesFacts, Grid]:
        """The facts of a series and its grid. Raises `InvalidRequestError` where two places disagree."""
        known = self._known.get(series.text)
        if known is None:
            facts = self.combined(series, self._store.facts(series))
            known = facts, self.grid(series, facts)
            self._known[series.text] = known
        return known

    def is_at_hand(self, series: SeriesId, *, counts: bool) -> bool:
        """Whether `of` answers without asking the store, and its grid without asking foreign code.

        counts: whether the grid will be asked how many bars are expected, and not only where ranges begin.
        """
        known = self._known.get(series.text)
        if known is None:
            return False
        facts, grid = known
        return not isinstance(facts.calendar, OwnCalendar) or (grid.is_uniform and not counts)

    def at(self, series: SeriesId, as_of: int) -> tuple[SeriesFacts, Grid]:
        """The same at a point in time: what the store said then holds, whatever is said now."""
        then = self._store.facts(series, as_of=as_of) or NOTHING_DECLARED
        facts = replace(self.combined(series, None), **then.said)
        return facts, self.grid(series, facts)

    def grid(self, series: SeriesId, facts: SeriesFacts) -> Grid:
        """The grid of a series of which `facts` hold."""
        try:
            calendar = calendar_named(facts.calendar, self._own)
        except InvalidRequestError as error:
            error.series = str(series)
            raise
        return Grid(series.timeframe, calendar, facts.anchor or "clock", series)

    def combined(
        self, series: SeriesId, stored: SeriesFacts | None, news: SeriesFacts = NOTHING_DECLARED
    ) -> SeriesFacts:
        """What the store, the settings and Python declare together; and `news`, of an import."""
        said = ((place, first_match(series, table)) for place, table in self._sources)
        return agreed(series, [("the store", stored), *said, ("this import", news)])

    def forget(self, series: SeriesId) -> None:
        """Ask the store again: somebody committed to the series."""
        self._known.pop(series.text, None)
