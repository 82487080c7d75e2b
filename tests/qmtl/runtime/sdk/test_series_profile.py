"""A series is resolved once per request; whatever settles it is a row of one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

import qmtl
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.schema import SchemaRegistryClient
from qmtl.foundation.schema.governance.decisions import ValidationMode
from qmtl.foundation.schema.registry.memory_storage import MemoryStorage
from qmtl.foundation.schema.registry.records import RegistryRecords
from qmtl.foundation.series import SeriesId
from qmtl.foundation.sla import SLAPolicy
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import HOUR, to_ns
from qmtl.runtime.sdk.profile_table import ProfileRow, profile_table
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.schema_enforcer import SchemaEnforcer
from qmtl.runtime.sdk.series_profile import ProfileResolver
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import ScriptedVendor

SERIES = "ohlcv:desk:AAPL:1h"
NAME = SeriesId.parse(SERIES)
# A Tuesday: New York trades from 14:30 to 21:00 UTC.
DAY = ("2024-01-02", "2024-01-03")

Make = Callable[..., SeamlessDataProvider]


def test_a_preset_is_nothing_but_a_row(make: Make) -> None:
    """Vendor, calendar, facts, schema subject and SLA of one pattern; other series keep what they have."""
    preset_vendor, general = ScriptedVendor(delay=1.0), ScriptedVendor()
    row = ProfileRow(
        "ohlcv:desk:*",
        "preset equities",
        vendor=preset_vendor,
        facts=SeriesFacts(calendar="XNYS", anchor="clock"),
        subject="desk-bars",
        sla=SLAPolicy(backfill_wait=60.0, max_lag=90.0),
    )
    provider = make(general, schemas=SchemaRegistryClient(), profiles=[row])
    result = provider.fetch(SERIES, *DAY)
    assert [call.series.text for call in preset_vendor.calls] == [SERIES]
    assert result.receipt.calendar == "XNYS"
    assert result.frame.height == 7, "the hours in which New York trades"
    assert [one.why for one in result.report.could_not_check if one.rule == "schema"] == [
        f"nothing is registered under desk-bars, the subject of {SERIES}"
    ]
    assert general.calls == []

    other = provider.fetch("ohlcv:other:AAPL:1h", *DAY)
    assert len(general.calls) == 1
    assert other.receipt.calendar == "24x7 (default)"
    assert provider.store.facts(NAME) == SeriesFacts(calendar="XNYS", anchor="clock")


def test_the_sla_of_a_row_holds_for_fetches_that_name_none(make: Make) -> None:
    row = ProfileRow("ohlcv:desk:*", "preset", sla=SLAPolicy(sync_gap=10))
    provider = make(ScriptedVendor(), profiles=[row], sla=SLAPolicy(sync_gap=1_000))
    with pytest.raises(qmtl.SeamlessSLAExceeded) as caught:
        provider.fetch(SERIES, *DAY)
    assert (caught.value.limit, caught.value.observed) == (10, 24)
    assert provider.fetch(SERIES, *DAY, sla=SLAPolicy(sync_gap=24)).frame.height == 24
    assert provider.fetch("ohlcv:other:AAPL:1h", *DAY).frame.height == 24


def test_two_rows_that_disagree_are_an_error_with_both_places(make: Make) -> None:
    row = ProfileRow("ohlcv:desk:*", "preset equities", facts=SeriesFacts(calendar="XNYS"))
    provider = make(ScriptedVendor(), profiles=[row], calendars={"*": "FX"})
    with pytest.raises(qmtl.InvalidRequestError) as caught:
        provider.fetch(SERIES, *DAY)
    assert caught.value.why == "preset equities says 'XNYS', calendars= says 'FX'"


def test_a_point_in_time_has_the_facts_of_then(make: Make, clock: FakeClock) -> None:
    provider = make(ScriptedVendor())
    then = provider.fetch(SERIES, *DAY).receipt
    clock.advance(60)
    provider.store.declare(NAME, SeriesFacts(calendar="XNYS"))
    assert provider.fetch(SERIES, *DAY, as_of=then.as_of).receipt.calendar == "24x7 (default)"
    assert provider.fetch(SERIES, *DAY, partial_ok=True).receipt.calendar == "XNYS"


class CountedFacts:
    """Facts that are declared in memory, and how often they were asked for."""

    def __init__(self) -> None:
        self.asked = 0
        self.declared: SeriesFacts | None = None
        self.meanwhile: Callable[[], None] = lambda: None

    def facts(self, series: SeriesId, *, as_of: int | None = None) -> SeriesFacts | None:
        self.asked += 1
        found = self.declared
        self.meanwhile()
        return found


@pytest.fixture
def facts() -> CountedFacts:
    return CountedFacts()


@pytest.fixture
def resolver(facts: CountedFacts, clock: FakeClock) -> ProfileResolver:
    schemas = SchemaEnforcer(
        None, RegistryRecords(MemoryStorage()), mode=None, default=ValidationMode.CANARY, clock=clock
    )
    return ProfileResolver(profile_table(vendors=ScriptedVendor()), facts, schemas)


def test_a_profile_is_kept_until_somebody_commits(resolver: ProfileResolver, facts: CountedFacts) -> None:
    assert not resolver.is_at_hand(NAME, None)
    first = resolver.of(NAME)
    assert resolver.of(NAME) is first
    assert facts.asked == 1
    assert resolver.is_at_hand(NAME, None)
    resolver.forget(NAME)
    assert not resolver.is_at_hand(NAME, None)
    facts.declared = SeriesFacts(calendar="FX")
    assert resolver.of(NAME).facts == SeriesFacts(calendar="FX")
    assert facts.asked == 2


def test_a_profile_is_looked_at_again_when_its_schema_is(
    resolver: ProfileResolver, facts: CountedFacts, clock: FakeClock
) -> None:
    first = resolver.of(NAME)
    clock.advance(6)
    assert not resolver.is_at_hand(NAME, None)
    assert resolver.of(NAME) == first
    assert facts.asked == 1, "the facts are as they were"


def test_facts_that_change_while_they_are_read_are_read_again(
    resolver: ProfileResolver, facts: CountedFacts
) -> None:
    def declared_meanwhile() -> None:
        facts.meanwhile = lambda: None
        facts.declared = SeriesFacts(calendar="FX")
        resolver.forget(NAME)

    facts.meanwhile = declared_meanwhile
    assert resolver.of(NAME).facts == SeriesFacts()
    assert resolver.of(NAME).facts == SeriesFacts(calendar="FX")


def test_one_request_reads_the_facts_of_a_series_once(make: Make) -> None:
    with make(ScriptedVendor()) as filled:
        filled.fetch(SERIES, *DAY)
    provider = make({})
    asked: list[Any] = []
    declarations = provider.import_parts.declared
    look_up = declarations._store.facts
    declarations._store = type(  # the store alone is asked: nobody else resolves a series
        "Counting",
        (),
        {"facts": staticmethod(lambda series, *, as_of=None: asked.append(series) or look_up(series))},
    )()
    provider.fetch(SERIES, *DAY)
    provider.fetch(SERIES, to_ns(DAY[0]), to_ns(DAY[0]) + HOUR)
    assert asked == [NAME]


def spiked() -> ScriptedVendor:
    """One bar with a low that nobody believes."""
    span = Span(*map(to_ns, ("2024-01-01", "2024-01-04")))
    low = pl.int_range(pl.len()) == 30
    frame = ScriptedVendor().bars(SERIES, span)
    return ScriptedVendor({SERIES: frame.with_columns(low=pl.when(low).then(1e-3).otherwise("low"))})


@pytest.mark.parametrize(
    ("on_findings", "violations"), [("report", 1), ("observe", 0)], ids=["report", "observe"]
)
def test_a_row_says_what_findings_do(make: Make, on_findings: Any, violations: int) -> None:
    provider = make(spiked(), profiles=[ProfileRow("*", "preset", on_findings=on_findings)])
    result = provider.fetch(SERIES, "2024-01-01", "2024-01-04")
    assert [one.rule for one in result.report.findings if one.severity == "warning"] == [
        "quality.price_spike"
    ]
    assert len(result.receipt.violations) == violations
    assert provider.store.newest_report(NAME) is not None, "it is archived all the same"


def test_a_row_that_blocks_raises_although_holes_are_welcome_and_not_at_who_welcomes_all(make: Make) -> None:
    row = ProfileRow("*", "preset", partial_ok=True, on_findings="raise")
    provider = make(spiked(), profiles=[row])
    with pytest.raises(qmtl.ConformancePipelineError):
        provider.fetch(SERIES, "2024-01-01", "2024-01-04")
    assert provider.fetch(SERIES, "2024-01-01", "2024-01-04", partial_ok=True).receipt.violations


def test_a_row_says_whether_holes_are_welcome_and_a_fetch_overrides_it(make: Make) -> None:
    tolerant = make({}, profiles=[ProfileRow("ohlcv:desk:*", "preset", partial_ok=True)])
    result = tolerant.fetch(SERIES, *DAY)
    assert (result.frame.height, len(result.receipt.violations)) == (0, 1)
    with pytest.raises(qmtl.MissingDataError):
        tolerant.fetch(SERIES, *DAY, partial_ok=False)
    with pytest.raises(qmtl.MissingDataError):
        tolerant.fetch("ohlcv:other:AAPL:1h", *DAY)
