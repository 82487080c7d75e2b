"""All that is resolved for one series: where its bars lie, what is declared of it, and who serves it."""

from __future__ import annotations

import threading
from typing import NamedTuple

from qmtl.foundation.facts import OwnCalendar, SeriesFacts
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.sla import SLAPolicy
from qmtl.runtime.io.vendors.base import LiveFeed, Vendor
from qmtl.runtime.planning.request import OnFindings
from qmtl.runtime.sdk.profile_table import ProfileTable
from qmtl.runtime.sdk.schema_enforcer import SchemaBinding, SchemaEnforcer
from qmtl.runtime.sdk.series_declarations import SeriesDeclarations, StoredFacts


class SeriesProfile(NamedTuple):
    """What one request works by, from its beginning to its end.

    vendor, feed: None where nobody serves the series. schema: which schema its rows must have, and in which
    mode. sla: the budgets of a fetch that names none. partial_ok: whether holes are answered where a fetch
    does not say. on_findings: what the findings of conformance do. None is as the provider was made.
    """

    series: SeriesId
    grid: Grid
    facts: SeriesFacts
    vendor: Vendor | None
    feed: LiveFeed | None
    schema: SchemaBinding
    sla: SLAPolicy | None
    partial_ok: bool | None = None
    on_findings: OnFindings | None = None


class ProfileResolver:
    """Resolves series by one table, one store and the schemas in force; safe to use from any thread.

    What was resolved is kept until a commit to the series (`forget`), and its schema for as long as
    `SchemaEnforcer` keeps it.
    """

    def __init__(self, table: ProfileTable, store: StoredFacts, schemas: SchemaEnforcer) -> None:
        self.table = table
        self.declarations = SeriesDeclarations(store, table)
        self._schemas = schemas
        self._known: dict[str, SeriesProfile] = {}  # by node id
        self._lock = threading.Lock()
        self._commits_seen = 0

    def of(self, series: SeriesId) -> SeriesProfile:
        """The profile of a series now. Raises `InvalidRequestError` where two declarations disagree."""
        known = self._known.get(series.text)
        schema = self._schemas.of(series)
        if known is not None and schema is known.schema:
            return known
        seen = self._commits_seen
        if known is None:
            profile = self._resolved(*self.declarations.of(series), series, schema)
        else:
            profile = known._replace(schema=schema)
        with self._lock:
            if seen == self._commits_seen:  # else somebody may have declared something meanwhile
                self._known[series.text] = profile
        return profile

    def at(self, series: SeriesId, as_of: int) -> SeriesProfile:
        """The profile by what was declared at commit time `as_of` (ns); refused as by `read` of the store."""
        return self._resolved(*self.declarations.at(series, as_of), series, self._schemas.of(series))

    def _resolved(
        self, facts: SeriesFacts, grid: Grid, series: SeriesId, schema: SchemaBinding
    ) -> SeriesProfile:
        table = self.table
        return SeriesProfile(
            series,
            grid,
            facts,
            table.vendor(series),
            table.feed(series),
            schema,
            table.sla(series),
            table.partial_ok(series),
            table.on_findings(series),
        )

    def is_at_hand(self, series: SeriesId, sla: SLAPolicy | None) -> bool:
        """Whether `of` asks neither a disk nor a registry, and its grid no foreign code.

        sla: of the request, if it names one; its bounds count the bars that a calendar expects.
        """
        known = self._known.get(series.text)
        if known is None or not self._schemas.is_fresh(series):
            return False
        if not isinstance(known.facts.calendar, OwnCalendar):
            return True
        return known.grid.is_uniform and (sla or known.sla) is None

    def forget(self, series: SeriesId) -> None:
        """Resolve again: somebody committed to the series."""
        with self._lock:
            self._commits_seen += 1
            self._known.pop(series.text, None)

    def forget_all(self) -> None:
        """Resolve all series again."""
        with self._lock:
            self._commits_seen += 1
            self._known.clear()
