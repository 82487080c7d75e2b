"""What is declared of each series, from every place where it can be declared; and the grid that follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from qmtl.foundation.calendars import Calendar, calendar_named
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.store.base import Store
from qmtl.runtime.sdk.patterns import first_match

_DEFAULT = SeriesFacts()


class Declared:
    """Facts of series from the store, from settings and from Python; they must not contradict each other.

    calendars: patterns to a calendar's name, or to a calendar of the user's own.
    settings: patterns to facts, as `seamless.series` of qmtl.yml gives them.
    """

    def __init__(
        self,
        store: Store,
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
        names = {p: value if isinstance(value, str) else p for p, value in calendars.items()}
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

    def grid(self, series: SeriesId, facts: SeriesFacts) -> Grid:
        """The grid of a series of which `facts` hold."""
        return Grid(series.timeframe, calendar_named(facts.calendar, self._own), facts.anchor)

    def combined(self, series: SeriesId, stored: SeriesFacts | None) -> SeriesFacts:
        """What the store, the settings and Python declare together."""
        facts, said_by = _DEFAULT, dict[str, str]()
        places = [
            ("the store", stored),
            *((name, first_match(series, table)) for name, table in self._sources),
        ]
        for place, declared in places:
            for name, value in _explicit(declared).items():
                if name in said_by and getattr(facts, name) != value:
                    raise InvalidRequestError(
                        f"two declarations disagree about the {name} of a series",
                        series=series,
                        why=f"{said_by[name]} says {getattr(facts, name)!r}, {place} says {value!r}",
                        next_step="make them agree; 'qmtl store declare' changes what the store says",
                    )
                facts = replace(facts, **{name: value})
                said_by[name] = place
        return facts

    def forget(self, series: SeriesId) -> None:
        """Ask the store again: somebody committed to the series."""
        self._known.pop(series.text, None)


def _explicit(facts: SeriesFacts | None) -> dict[str, Any]:
    if facts is None:
        return {}
    values = {field.name: getattr(facts, field.name) for field in fields(facts)}
    return {name: value for name, value in values.items() if value != getattr(_DEFAULT, name)}
