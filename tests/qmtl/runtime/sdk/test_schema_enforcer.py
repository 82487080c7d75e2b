"""Rows are held to the schema that is registered for them: canary tells and counts, strict refuses."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prometheus_client import CollectorRegistry

import qmtl
from qmtl.foundation.errors import RegistryUnavailableError, SchemaRegistryError
from qmtl.foundation.schema.documents import Schema, SchemaType
from qmtl.foundation.schema.governance.decisions import Decision, ValidationMode
from qmtl.foundation.schema.registry.client import SchemaRegistryClient
from qmtl.foundation.schema.registry.contract import Registered, Version
from qmtl.foundation.schema.registry.records import RegistryRecords
from qmtl.foundation.series import SeriesId
from qmtl.foundation.times import HOUR, to_ns
from qmtl.runtime.conformance.schema_columns import parse_registered_schema
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.schema_enforcer import SchemaEnforcer, own
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import Change, ScriptedVendor

SERIES = "ohlcv:test:BTC/USDT:1m"
RANGE = ("2024-01-01", "2024-01-02")
FAILURES = "seamless_schema_validation_failures_total"

Make = Callable[..., SeamlessDataProvider]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock("2024-02-01T00:00:30Z")


@pytest.fixture
def counted() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def make(tmp_path: Path, clock: FakeClock, counted: CollectorRegistry) -> Iterator[Make]:
    made: list[SeamlessDataProvider] = []

    def build(vendor: Any = None, **options: Any) -> SeamlessDataProvider:
        options = {
            "clock": clock,
            "metrics_registry": counted,
            "vendors": vendor or ScriptedVendor(),
            **options,
        }
        made.append(SeamlessDataProvider(tmp_path / "bars", **options))
        return made[-1]

    yield build
    for provider in made:
        provider.close()


def bars_schema(**columns: Any) -> Schema:
    """The schema of bars with some columns said anew."""
    properties = {name: {"type": "number"} for name in ("open", "high", "low", "close", "volume")}
    value = {"type": "object", "properties": {"ts": {"type": "integer"}, **properties, **columns}}
    return Schema(json.dumps(value), SchemaType.JSON)


def registry_with(subject: str = "ohlcv", **columns: Any) -> SchemaRegistryClient:
    registry = SchemaRegistryClient()
    registry.set_level("NONE")
    registry.register(subject, bars_schema(**columns))
    return registry


def failing(provider: SeamlessDataProvider, share: float = 0.5) -> float:
    """A close that about half of the bars of the range pass."""
    frame = provider.fetch(SERIES, *RANGE).frame
    return float(frame["close"].quantile(share) or 0.0)


def decide(registry: SchemaRegistryClient, action: Any, clock: FakeClock, *, version: int | None = 1) -> None:
    RegistryRecords(registry.storage).decide("ohlcv", Decision(clock.now(), action, version, "a test", "1:x"))


def test_the_schema_of_this_package_holds_what_the_store_holds(make: Make) -> None:
    result = make().fetch(SERIES, *RANGE)
    assert result.receipt.schema_id == result.report.schema_id == "ohlcv:1"
    assert result.report.could_not_check == ()
    assert own("ohlcv").unchecked == own("trades").unchecked == ()


def test_canary_tells_and_counts_and_strict_refuses_the_same_rows(
    make: Make, counted: CollectorRegistry
) -> None:
    limit = failing(make())
    registry = registry_with(
        close={"type": "number", "maximum": limit}, open={"type": "number", "minimum": limit}
    )
    canary = make(schemas=registry).fetch(SERIES, *RANGE)
    broken = canary.frame.filter((pl.col("close") > limit) | (pl.col("open") < limit)).height
    (finding,) = [f for f in canary.report.findings if f.rule == "schema.out_of_range"]
    assert (finding.severity, finding.count, finding.raises) == ("info", broken, 0)
    assert counted.get_sample_value(FAILURES, {"subject": "ohlcv", "mode": "canary"}) == broken

    for partial_ok in (False, True):
        with pytest.raises(qmtl.SchemaValidationError) as caught:
            make(schemas=registry, validation_mode="strict").fetch(SERIES, *RANGE, partial_ok=partial_ok)
        assert (caught.value.subject, caught.value.mode) == ("ohlcv", "strict")
        assert [problem.column for problem in caught.value.problems] == ["open", "close"]
        assert f"{broken:,} of 1,440 rows" in str(caught.value)
        assert SERIES in str(caught.value)
    assert counted.get_sample_value(FAILURES, {"subject": "ohlcv", "mode": "strict"}) == 2 * broken


def test_strict_is_judged_before_conformance_and_after_what_is_missing(make: Make) -> None:
    registry = registry_with(close={"type": "string"})
    provider = make(vendors={}, schemas=registry, validation_mode="strict")
    with pytest.raises(qmtl.MissingDataError):
        provider.fetch(SERIES, *RANGE)


def test_a_slice_of_the_cache_is_judged_by_its_own_rows(make: Make) -> None:
    limit = failing(make())
    provider = make(schemas=registry_with(close={"type": "number", "maximum": limit}))
    whole = provider.fetch(SERIES, *RANGE)
    part = provider.fetch(SERIES, "2024-01-01T06:00Z", "2024-01-01T09:00Z")
    assert part.receipt.served[0].tier == "cache"
    expected = part.frame.filter(pl.col("close") > limit).height
    assert sum(f.count for f in part.report.findings if f.rule == "schema.out_of_range") == expected
    assert whole.report.findings


def test_a_subject_of_venue_and_timeframe_comes_before_the_general_one(make: Make) -> None:
    registry = registry_with()
    registry.register("ohlcv.test.1m", bars_schema(close={"type": "string"}))
    special = make(schemas=registry).fetch(SERIES, *RANGE)
    assert special.receipt.schema_id == "ohlcv.test.1m:1"
    assert [f.rule for f in special.report.findings] == ["schema.column_type"]
    assert make(schemas=registry).fetch("ohlcv:test:BTC/USDT:1h", *RANGE).receipt.schema_id == "ohlcv:1"


def test_modes_in_their_order(make: Make, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = registry_with(close={"type": "string"})

    def is_refused(**options: Any) -> bool:
        try:
            make(schemas=registry, **options).fetch(SERIES, *RANGE)
        except qmtl.SchemaValidationError:
            return True
        return False

    assert not is_refused(), "canary where nobody says anything"
    assert is_refused(default_validation_mode="strict"), "qmtl.yml"
    monkeypatch.setenv("QMTL_SCHEMA_VALIDATION_MODE", "strict")
    assert is_refused(), "the environment"
    decide(registry, "rollback", clock, version=None)
    assert not is_refused(), "the governance of the subject"
    decide(registry, "promote", clock)
    monkeypatch.setenv("QMTL_SCHEMA_VALIDATION_MODE", "canary")
    assert is_refused(), "the governance of the subject"
    assert not is_refused(validation_mode="canary"), "whoever makes the provider"
    with pytest.raises(qmtl.InvalidRequestError, match="'lax' is neither"):
        make(validation_mode="lax")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not list open files")
def test_a_provider_that_cannot_be_made_leaves_no_file_open(tmp_path: Path) -> None:
    with pytest.raises(qmtl.InvalidRequestError) as caught:
        SeamlessDataProvider(tmp_path / "bars", validation_mode="lax")
    stored: list[str] = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile, as the folder itself is
            stored.append(os.readlink(entry))
    assert [file for file in stored if file.startswith(str(tmp_path))] == []
    assert caught.value.__traceback__  # as long as it is held, nothing was closed by being forgotten


def test_a_rollback_is_seen_within_five_seconds(make: Make, clock: FakeClock) -> None:
    registry = registry_with(close={"type": "string"})
    provider = make(schemas=registry)
    decide(registry, "promote", clock)
    with pytest.raises(qmtl.SchemaValidationError):
        provider.fetch(SERIES, *RANGE)
    decide(registry, "rollback", clock, version=None)
    clock.advance(5.0)
    assert provider.fetch(SERIES, *RANGE).frame.height == 1440


def test_series_of_one_subject_share_what_was_read_of_it_and_for_no_longer(clock: FakeClock) -> None:
    asked: list[str] = []

    class Counted(RegistryRecords):
        def decisions(self, subject: str) -> tuple[Decision, ...]:
            asked.append(subject)
            return super().decisions(subject)

    records = Counted(SchemaRegistryClient().storage)
    enforcer = SchemaEnforcer(
        None, records, mode=None, default=ValidationMode.CANARY, clock=clock, subject_of=lambda _: "ohlcv"
    )
    names = [SeriesId.parse(f"ohlcv:test:S{number}/USDT:1m") for number in range(3)]
    assert enforcer.of(names[0]).mode is ValidationMode.CANARY
    clock.advance(3)
    assert enforcer.of(names[1]).mode is ValidationMode.CANARY
    assert asked == ["ohlcv"]
    records.decide("ohlcv", Decision(clock.now(), "promote", 1, "a test", "1:x"))
    clock.advance(2)
    assert {enforcer.of(name).mode for name in names} == {ValidationMode.STRICT}
    assert asked == ["ohlcv"] * 2


def test_a_new_version_judges_what_is_cached(make: Make, clock: FakeClock) -> None:
    registry = registry_with()
    provider = make(schemas=registry)
    assert provider.fetch(SERIES, *RANGE).report.findings == ()
    registry.register("ohlcv", bars_schema(close={"type": "string"}))
    clock.advance(5.0)
    again = provider.fetch(SERIES, *RANGE)
    assert again.receipt.served[0].tier == "cache"
    assert again.receipt.schema_id == "ohlcv:2"
    assert [f.rule for f in again.report.findings] == ["schema.column_type"]


def test_a_tombstoned_version_is_passed_over(make: Make, clock: FakeClock) -> None:
    registry = registry_with()
    registry.register("ohlcv", bars_schema(close={"type": "string"}))
    decide(registry, "tombstone", clock, version=2)
    assert make(schemas=registry).fetch(SERIES, *RANGE).receipt.schema_id == "ohlcv:1"
    decide(registry, "tombstone", clock, version=1)
    refused = make(schemas=registry).fetch(SERIES, *RANGE)
    assert refused.receipt.schema_id == "unknown"
    assert [item.why for item in refused.report.could_not_check] == [
        "version 2 of 'ohlcv' is tombstoned: a test"
    ]


def test_a_tombstone_of_the_schema_of_this_package_is_kept_in_the_store(make: Make, clock: FakeClock) -> None:
    provider = make()
    provider.store.decide("ohlcv", Decision(clock.now(), "tombstone", 1, "a test", "1:x"))
    refused = provider.fetch(SERIES, *RANGE)
    assert refused.receipt.schema_id == "unknown"
    assert [item.why for item in refused.report.could_not_check] == [
        "version 1 of ohlcv is tombstoned: a test"
    ]


class Unreachable(SchemaRegistryClient):
    """A registry that is down from some moment on."""

    is_down = False

    def version(self, subject: str, version: Version, *, deleted: bool = False) -> Registered:
        if self.is_down:
            raise RegistryUnavailableError("the schema registry at x cannot be reached", url="http://x")
        return super().version(subject, version, deleted=deleted)


def test_a_registry_that_is_down_stops_no_read_and_is_reported(make: Make, clock: FakeClock) -> None:
    registry = Unreachable()
    registry.register("ohlcv", bars_schema())
    provider = make(schemas=registry)
    provider.fetch(SERIES, *RANGE)
    registry.is_down = True
    clock.advance(5.0)
    known = provider.fetch(SERIES, *RANGE)
    assert known.receipt.schema_id == "ohlcv:1"
    assert "cannot be asked" in known.report.could_not_check[0].why
    unknown = make(schemas=registry, validation_mode="strict").fetch(SERIES, *RANGE)
    assert unknown.receipt.schema_id == "unknown"
    assert (unknown.report.could_not_check[0].rule, unknown.report.could_not_check[0].bars) == (
        "schema",
        1440,
    )


def test_a_registry_without_the_subject_is_reported(make: Make) -> None:
    result = make(schemas=SchemaRegistryClient()).fetch(SERIES, *RANGE)
    assert result.receipt.schema_id == "unknown"
    assert "nothing is registered" in result.report.could_not_check[0].why


def test_what_a_schema_says_beyond_questions_is_reported(make: Make) -> None:
    registry = registry_with(close={"type": "number", "multipleOf": 0.01})
    result = make(schemas=registry).fetch(SERIES, *RANGE)
    assert "close: multipleOf" in result.report.could_not_check[0].why


def test_rows_are_observed_where_a_registry_keeps_count(make: Make, clock: FakeClock) -> None:
    limit = failing(make())
    registry = registry_with(close={"type": "number", "maximum": limit})
    provider = make(schemas=registry)
    broken = provider.fetch(SERIES, *RANGE).frame.filter(pl.col("close") > limit).height
    provider.fetch(SERIES, *RANGE)  # from the cache: held already
    records = RegistryRecords(registry.storage)
    assert records.observed("ohlcv") == (), "reported together, later"
    provider.close()
    assert records.observed("ohlcv") == ((1, to_ns("2024-02-01"), 1440, broken),)


def test_a_registry_is_reported_after_a_minute(make: Make, clock: FakeClock) -> None:
    registry = registry_with()
    provider = make(schemas=registry)
    provider.fetch(SERIES, *RANGE)
    clock.advance(61.0)
    provider.fetch(SERIES, "2024-01-02", "2024-01-03")
    provider.close()
    observed = RegistryRecords(registry.storage).observed("ohlcv")
    assert sum(one.checked for one in observed) == 2 * 1440


def test_the_store_is_notified_by_answers_that_changed_it(make: Make) -> None:
    provider = make()
    provider.fetch(SERIES, *RANGE)
    assert provider.store.observed("ohlcv") == ((1, to_ns("2024-02-01"), 1440, 0),)
    before = provider.store.newest().tx
    make().fetch(SERIES, *RANGE)
    assert provider.store.observed("ohlcv") == ((1, to_ns("2024-02-01"), 1440, 0),), "a read writes nothing"
    assert provider.store.newest().tx == before


@pytest.mark.parametrize("mode", ["canary", "strict"])
def test_what_the_store_cannot_hold_is_refused_in_both_modes_and_counted(
    make: Make, counted: CollectorRegistry, mode: str
) -> None:
    def as_text(page: qmtl.Page) -> qmtl.Page:
        return qmtl.Page(page.frame.cast({"close": pl.String}), page.answered, page.absent)

    provider = make(ScriptedVendor(faults={0: Change(as_text)}), validation_mode=mode)
    with pytest.raises(qmtl.SourceUnavailableError, match="close is String"):
        provider.fetch(SERIES, *RANGE)
    assert counted.get_sample_value(FAILURES, {"subject": "ohlcv", "mode": mode}) == 1440


def test_another_error_of_the_registry_reaches_the_caller(make: Make) -> None:
    class Refusing(SchemaRegistryClient):
        def version(self, subject: str, version: Version, *, deleted: bool = False) -> Registered:
            raise SchemaRegistryError("no entry", code=401)

    with pytest.raises(SchemaRegistryError, match="no entry"):
        make(schemas=Refusing()).fetch(SERIES, *RANGE)


def test_hours_are_those_of_the_clock() -> None:
    assert to_ns("2024-02-01") % HOUR == 0
    assert parse_registered_schema("ohlcv", 1, {}, language="JSON").columns == ()
