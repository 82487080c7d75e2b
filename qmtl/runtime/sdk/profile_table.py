"""One table of patterns: which vendor, feed, calendar, facts, schema subject and SLA belong to a series.

Whatever settles one of these (a parameter of the provider, an entry of qmtl.yml, a preset) is a row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from qmtl.foundation.calendars import Calendar
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import NOTHING_DECLARED, OwnCalendar, SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.sla import SLAPolicy
from qmtl.runtime.io.vendors.base import LiveFeed, Vendor
from qmtl.runtime.planning.request import OnFindings
from qmtl.runtime.sdk.lazy_vendor import LazyVendor
from qmtl.runtime.sdk.sources import CcxtByVenue, Unserved, name_of, unserved_by

if TYPE_CHECKING:
    from qmtl.runtime.io.fleet_rates import FleetRates

Source = TypeVar("Source", Vendor, LiveFeed)
T = TypeVar("T")


class ProfileRow(NamedTuple):
    """What holds for every series whose node id matches; None leaves a column to the rows below.

    match: a shell pattern of node ids (`ohlcv:binance:*`).
    members: of these, only the node ids that are among them; None is all.
    place: where the row was written, for errors (`calendars=`, `seamless.series`).
    facts: what is declared. Rows of different places must agree; of one place the first that matches counts.
    calendar: a calendar object of the user's own, which takes the place of `facts.calendar`.
    subject: the subject under which the schema of the series is registered; left out, it follows from the
        node id.
    sla: budgets of each fetch that names none.
    partial_ok: whether a fetch that does not say is answered with holes.
    on_findings: what warnings and errors of conformance do: "raise", "report" (violations of the receipt) or
        "observe" (they are in the report alone). `partial_ok=True` of a fetch never raises.
    """

    match: str
    place: str
    vendor: Vendor | None = None
    feed: LiveFeed | None = None
    facts: SeriesFacts | None = None
    calendar: Calendar | None = None
    subject: str | None = None
    sla: SLAPolicy | None = None
    partial_ok: bool | None = None
    on_findings: OnFindings | None = None
    members: Collection[str] | None = None

    def concerns(self, series: SeriesId) -> bool:
        """Whether the row holds for a series."""
        if self.members is not None and series.text not in self.members:
            return False
        return fnmatchcase(series.text, self.match)

    @property
    def declared(self) -> SeriesFacts | None:
        """The facts, with the name that the calendar object goes by."""
        if self.calendar is None:
            return self.facts
        return replace(self.facts or NOTHING_DECLARED, calendar=OwnCalendar(self.match))


class ProfileTable:
    """Rows in order, for each column the first that matches and fills it; vendors else from `fallback`."""

    def __init__(self, rows: Iterable[ProfileRow] = (), fallback: CcxtByVenue | None = None) -> None:
        self._rows = tuple(rows)
        self._fallback = fallback
        self.calendars = {row.match: row.calendar for row in self._rows if row.calendar is not None}
        # Places of rows: of those for any series, and of the others by node id. A world of many presets has
        # a row for each, and a series is in few of them.
        self._open = [place for place, row in enumerate(self._rows) if row.members is None]
        self._of_member: dict[str, list[int]] = {}
        for place, row in enumerate(self._rows):
            for name in row.members or ():
                self._of_member.setdefault(name, []).append(place)

    def vendor(self, series: SeriesId) -> Vendor | None:
        """Where past bars of a series come from."""
        found = self._first(series, lambda row: row.vendor)
        return self._fallback.vendor(series) if found is None and self._fallback is not None else found

    def feed(self, series: SeriesId) -> LiveFeed | None:
        """Where bars of a series come from as they close."""
        return self._first(series, lambda row: row.feed)

    def subject(self, series: SeriesId) -> str | None:
        """The schema subject that a row names; None where it follows from the node id."""
        return self._first(series, lambda row: row.subject)

    def sla(self, series: SeriesId) -> SLAPolicy | None:
        """The budgets of fetches that name none."""
        return self._first(series, lambda row: row.sla)

    def partial_ok(self, series: SeriesId) -> bool | None:
        """Whether holes are answered, where a fetch does not say."""
        return self._first(series, lambda row: row.partial_ok)

    def on_findings(self, series: SeriesId) -> OnFindings | None:
        """What the findings of conformance do."""
        return self._first(series, lambda row: row.on_findings)

    @property
    def has_budgets(self) -> bool:
        """Whether any series has some."""
        return any(row.sla is not None for row in self._rows)

    def declared(self, series: SeriesId) -> dict[str, SeriesFacts]:
        """What each place declares of a series, in the order of the rows."""
        found: dict[str, SeriesFacts] = {}
        for row in self._concerning(series):
            facts = row.declared
            if facts is not None and row.place not in found:
                found[row.place] = facts
        return found

    def unserved(self, series: SeriesId) -> Unserved:
        """Why no vendor serves a series."""
        if self._fallback is not None:
            return self._fallback.unserved(series)
        return unserved_by((row.match for row in self._rows if row.vendor is not None), series)

    @property
    def vendors(self) -> str:
        """Who serves what, for people; empty if there is nobody."""
        named = [f"{row.match} by {name_of(row.vendor)}" for row in self._rows if row.vendor is not None]
        if self._fallback is not None and self._fallback.described:
            named.append(self._fallback.described)
        return ", ".join(named)

    @property
    def feeds(self) -> str:
        """Which feed serves what, for people; empty if there is none."""
        return ", ".join(f"{row.match} by {name_of(row.feed)}" for row in self._rows if row.feed is not None)

    def share_rates(self, fleet: FleetRates) -> None:
        """All vendors share their budgets with other machines."""
        from qmtl.runtime.io.fleet_rates import share_rates  # only beside a coordinator

        for row in self._rows:
            share_rates(row.vendor, fleet)
        if self._fallback is not None:
            self._fallback.fleet = fleet

    @property
    def sources(self) -> list[object]:
        """Every vendor and feed that has been made, each once: what has to be closed."""
        made: list[object] = [row.vendor for row in self._rows if row.vendor is not None]
        made += [] if self._fallback is None else self._fallback.made
        made += [row.feed for row in self._rows if row.feed is not None]
        made = [source for source in made if not isinstance(source, LazyVendor) or source.is_made]
        return list({id(source): source for source in made}.values())

    def _first(self, series: SeriesId, column: Callable[[ProfileRow], T | None]) -> T | None:
        return next((value for row in self._concerning(series) if (value := column(row)) is not None), None)

    def _concerning(self, series: SeriesId) -> Iterator[ProfileRow]:
        """The rows that hold for a series, in order."""
        of_members = self._of_member.get(series.text)
        places = self._open if of_members is None else sorted([*self._open, *of_members])
        return (row for row in map(self._rows.__getitem__, places) if row.concerns(series))


NO_ROWS = ProfileTable()


def profile_table(
    *,
    vendors: Mapping[str, Vendor] | Vendor | None = None,
    live: Mapping[str, LiveFeed] | LiveFeed | None = None,
    calendars: Mapping[str, str | Calendar] | None = None,
    declared: Iterable[tuple[str, SeriesFacts]] = (),
    sla: SLAPolicy | None = None,
    rows: Iterable[ProfileRow] = (),
) -> ProfileTable:
    """The table of a provider's parameters; `rows` stand before those. For `vendors=None` ccxt serves.

    Raises `InvalidRequestError` for what is neither the name of a calendar nor a calendar.
    """
    return ProfileTable(
        [
            *rows,
            *(ProfileRow(match, "vendors=", vendor=one) for match, one in _by_pattern(vendors)),
            *(ProfileRow(match, "live=", feed=one) for match, one in _by_pattern(live)),
            *(_calendar_row(match, one) for match, one in (calendars or {}).items()),
            *(ProfileRow(match, "seamless.series", facts=facts) for match, facts in declared),
            *([] if sla is None else [ProfileRow("*", "sla=", sla=sla)]),
        ],
        fallback=CcxtByVenue() if vendors is None else None,
    )


def _by_pattern(sources: Mapping[str, Source] | Source | None) -> Iterable[tuple[str, Source]]:
    """A bare source serves all."""
    if sources is None:
        return ()
    return sources.items() if isinstance(sources, Mapping) else [("*", sources)]


def _calendar_row(match: str, value: str | Calendar) -> ProfileRow:
    if isinstance(value, str):
        return ProfileRow(match, "calendars=", facts=SeriesFacts(calendar=value))
    if isinstance(value, Calendar):
        return ProfileRow(match, "calendars=", calendar=value)
    raise InvalidRequestError(
        f"the calendar of {match!r} is a {type(value).__name__}",
        next_step="give a name such as XNYS, or an object with sessions(span)",
    )
