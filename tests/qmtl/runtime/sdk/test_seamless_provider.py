"""Fetches through every strategy, budget and failure, on a clock that never sleeps."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from prometheus_client import CollectorRegistry

import qmtl
from qmtl.foundation.frames import BAR_SCHEMA
from qmtl.foundation.leases import ShardProgress
from qmtl.foundation.schema.documents import Schema, SchemaType
from qmtl.foundation.schema.registry.client import SchemaRegistryClient
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE, iso, to_ns
from qmtl.runtime.coordination.memory_leases import MemoryLeases
from qmtl.runtime.coordination.shard_leases import Granted
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import (
    Change,
    Deliver,
    Hang,
    Raise,
    ScriptedFeed,
    ScriptedVendor,
    Stop,
    contradicting,
    doubled,
    high_below_low,
    partly_answered,
    rows_outside,
    unsorted,
    with_value,
)

BOTH_ENGINES = True

SERIES = "ohlcv:test:BTC/USDT:1m"
DAWN = to_ns("2024-01-01")
NOON = DAWN + 12 * HOUR
STRATEGIES = ("FAIL_FAST", "AUTO_BACKFILL", "PARTIAL_FILL", "SEAMLESS")
FETCHING = ("AUTO_BACKFILL", "SEAMLESS")

Make = Callable[..., SeamlessDataProvider]


# -- the four strategies ----------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", FETCHING)
def test_a_cold_fetch_gives_every_bar(make: Make, strategy: str) -> None:
    vendor = ScriptedVendor(page_rows=1000)
    result = make(vendor).fetch(SERIES, "2024-01-01", "2024-01-03", strategy=strategy)
    assert_frame_equal(result.frame, vendor.bars(SERIES, Span(DAWN, DAWN + 2 * DAY)))
    assert result.frame.schema == BAR_SCHEMA
    assert result.coverage.counts == {"present": 2880, "no_trade": 0, "closed": 0, "absent": 0, "unknown": 0}
    assert [(s.tier, s.source) for s in result.receipt.served] == [("backfill", "ScriptedVendor")]
    assert [call.span for call in vendor.calls] == [Span(DAWN, DAWN + 2 * DAY)], "asked once, for all of it"


def test_fail_fast_asks_no_vendor(make: Make) -> None:
    vendor = ScriptedVendor()
    with pytest.raises(qmtl.MissingDataError) as caught:
        make(vendor).fetch(SERIES, "2024-01-01", "2024-01-02", strategy="FAIL_FAST")
    assert caught.value.holes == {"unknown": Coverage.of(Span(DAWN, DAWN + DAY))}
    assert SERIES in str(caught.value)
    assert "asks no vendor" in str(caught.value)
    assert vendor.calls == []


def test_partial_fill_answers_with_holes_and_fills_them_behind(make: Make) -> None:
    vendor = ScriptedVendor()
    provider = make(vendor)
    first = provider.fetch(SERIES, "2024-01-01", "2024-01-02", strategy="PARTIAL_FILL")
    assert first.frame.height == 0
    assert first.coverage.counts["unknown"] == 1440
    first.pending.wait(60)
    assert first.pending.done
    second = provider.fetch(SERIES, "2024-01-01", "2024-01-02", strategy="PARTIAL_FILL")
    assert second.frame.height == 1440
    assert second.pending.done


def test_what_goes_on_behind_an_answer_can_be_cancelled(make: Make) -> None:
    vendor = ScriptedVendor(faults={0: Hang()})
    result = make(vendor).fetch(SERIES, "2024-01-01", "2024-01-02", strategy="PARTIAL_FILL")
    result.pending.cancel()
    assert result.pending.done


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_stored_is_served_without_a_vendor(make: Make, strategy: str) -> None:
    vendor = ScriptedVendor()
    with make(vendor) as filling:
        filling.fetch(SERIES, "2024-01-01", "2024-01-03")
    vendor.calls.clear()
    reading = make(vendor)
    for tier in ("storage", "cache"):
        result = reading.fetch(SERIES, "2024-01-01T06:00Z", "2024-01-02", strategy=strategy)
        assert_frame_equal(result.frame, vendor.bars(SERIES, Span(DAWN + 6 * HOUR, DAWN + DAY)))
        assert [s.tier for s in result.receipt.served] == [tier]
    assert vendor.calls == []


def test_only_what_is_missing_is_asked_for(make: Make) -> None:
    vendor = ScriptedVendor()
    provider = make(vendor)
    provider.fetch(SERIES, "2024-01-01T06:00Z", "2024-01-01T07:00Z")
    provider.fetch(SERIES, "2024-01-01T08:00Z", "2024-01-01T09:00Z")
    vendor.calls.clear()
    provider.fetch(SERIES, "2024-01-01T05:00Z", "2024-01-01T10:00Z")
    hours = [(5, 6), (7, 8), (9, 10)]
    assert [call.span for call in vendor.calls] == [Span(DAWN + a * HOUR, DAWN + b * HOUR) for a, b in hours]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_holes_are_answered_with_partial_ok(make: Make, strategy: str) -> None:
    vendor = ScriptedVendor(page_rows=60, faults={2: Stop()})
    result = make(vendor).fetch(SERIES, "2024-01-01", "2024-01-01T04:00Z", strategy=strategy, partial_ok=True)
    counts = result.coverage.counts
    if strategy in FETCHING:
        assert (counts["present"], counts["unknown"]) == (120, 120)
    else:
        assert (counts["present"], counts["unknown"]) == (0, 240)
    result.pending.cancel()


# -- the states of a bar ----------------------------------------------------------------------------------


def test_no_trade_absent_and_unknown_are_distinguished(make: Make) -> None:
    silent = Coverage.of(Span(DAWN + HOUR, DAWN + HOUR + 5 * MINUTE))
    absent = Coverage.of(Span(DAWN + 2 * HOUR, DAWN + 3 * HOUR))
    vendor = ScriptedVendor(page_rows=60, no_trade=silent, absent=absent, faults={5: Stop()})
    provider = make(vendor)
    result = provider.fetch(SERIES, "2024-01-01", "2024-01-01T06:00Z", partial_ok=True)
    assert result.coverage.no_trade == silent
    assert result.coverage.absent == absent
    assert result.coverage.unknown == Coverage.of(Span(DAWN + 5 * HOUR, DAWN + 6 * HOUR))
    with pytest.raises(qmtl.MissingDataError) as caught:
        provider.fetch(SERIES, "2024-01-01", "2024-01-01T05:00Z")
    assert caught.value.holes == {"absent": absent}


def test_an_absence_is_asked_again_after_a_day(make: Make, clock: FakeClock) -> None:
    absent = Coverage.of(Span(DAWN + HOUR, DAWN + 2 * HOUR))
    vendor = ScriptedVendor(absent=absent)
    provider = make(vendor)
    provider.fetch(SERIES, "2024-01-01", "2024-01-02", partial_ok=True)
    vendor.calls.clear()
    vendor.absent = Coverage()
    provider.fetch(SERIES, "2024-01-01", "2024-01-02", partial_ok=True)
    assert vendor.calls == []
    clock.advance(24 * 3600 + 1)
    result = provider.fetch(SERIES, "2024-01-01", "2024-01-02")
    assert [call.span for call in vendor.calls] == [absent.hull]
    assert result.frame.height == 1440


def test_bars_that_have_not_closed_are_no_holes(make: Make, clock: FakeClock) -> None:
    vendor = ScriptedVendor()
    result = make(vendor).fetch(SERIES, "2024-01-31T23:00Z", "2024-02-01T01:00Z")
    now = to_ns("2024-02-01")
    assert result.receipt.not_closed == Coverage.of(Span(now, now + HOUR))
    assert result.coverage.unknown == result.receipt.not_closed
    assert result.frame.height == 60
    assert vendor.calls[0].span == Span(now - HOUR, now)


def test_without_an_end_the_last_closed_bar_is_the_last(make: Make) -> None:
    result = make(ScriptedVendor()).fetch(SERIES, "2024-01-31T23:00Z")
    assert result.receipt.span == Span(to_ns("2024-01-31T23:00Z"), to_ns("2024-02-01"))


def test_an_empty_answer_counts_only_when_the_bar_has_settled(make: Make, clock: FakeClock) -> None:
    newest = Coverage.of(Span(to_ns("2024-01-31T23:57Z"), to_ns("2024-02-01")))
    provider = make(ScriptedVendor(no_trade=newest))
    # It is half a minute past midnight: the bar of 23:59 closed too lately, the two before it did not.
    result = provider.fetch(SERIES, "2024-01-31T23:00Z", partial_ok=True)
    assert result.coverage.no_trade == Coverage.of(Span(newest.hull.start, newest.hull.end - MINUTE))
    assert result.coverage.unknown == Coverage.of(Span(newest.hull.end - MINUTE, newest.hull.end))
    clock.advance(31)
    assert provider.fetch(SERIES, "2024-01-31T23:00Z", "2024-02-01").coverage.no_trade == newest


def test_closed_bars_are_neither_holes_nor_asked_for_apart(make: Make) -> None:
    vendor = ScriptedVendor(page_rows=None)
    fx = "ohlcv:test:EUR/USD:1h"
    result = make(vendor, calendars={"ohlcv:test:EUR/*": "FX"}).fetch(
        fx, "2024-01-08", "2024-01-22", partial_ok=True
    )
    assert result.coverage.counts["closed"] == 0, (
        "a bar that exists is present even where the calendar is closed"
    )
    assert len(vendor.calls) == 1


def test_a_bar_that_did_not_trade_can_be_filled_and_is_marked(make: Make) -> None:
    silent = Coverage.of(Span(DAWN, DAWN + MINUTE), Span(DAWN + 3 * MINUTE, DAWN + 5 * MINUTE))
    provider = make(ScriptedVendor(no_trade=silent))
    flat = provider.fetch(SERIES, "2024-01-01", "2024-01-01T00:10Z", fill="flat").frame
    assert flat.height == 9, "no earlier close is known for the first bar"
    filled = flat.filter("filled")
    before = flat.filter(pl.col("ts") == pl.lit(DAWN + 2 * MINUTE).cast(BAR_SCHEMA["ts"]))["close"].item()
    assert filled["open"].to_list() == filled["close"].to_list() == [before, before]
    assert filled["volume"].to_list() == [0.0, 0.0]
    later = provider.fetch(SERIES, "2024-01-01T00:03Z", "2024-01-01T00:10Z", fill="flat").frame
    assert later.equals(flat.filter(pl.col("ts") >= later["ts"][0])), "the close before the range is stored"
    assert later.height == 7
    null = provider.fetch(SERIES, "2024-01-01", "2024-01-01T00:10Z", fill="null").frame
    assert null.height == 10
    assert null.filter("filled")["close"].null_count() == 3


# -- what a vendor can do wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change", [doubled, unsorted, partly_answered], ids=["doubled rows", "unsorted rows", "a short page"]
)
def test_a_clumsy_page_does_no_harm(make: Make, change: Any) -> None:
    vendor = ScriptedVendor(page_rows=60, faults={1: Change(change)})
    provider = make(vendor)
    first = provider.fetch(SERIES, "2024-01-01", "2024-01-01T04:00Z", partial_ok=True)
    if change is partly_answered:
        assert first.coverage.unknown == Coverage.of(Span(DAWN + 90 * MINUTE, DAWN + 120 * MINUTE))
    whole = provider.fetch(SERIES, "2024-01-01", "2024-01-01T04:00Z")
    assert_frame_equal(whole.frame, vendor.bars(SERIES, Span(DAWN, DAWN + 4 * HOUR)))


def test_a_page_with_rows_outside_its_answer_is_refused(make: Make) -> None:
    vendor = ScriptedVendor(page_rows=60, faults={1: Change(rows_outside)})
    provider = make(vendor)
    with pytest.raises(qmtl.SourceUnavailableError, match="refused"):
        provider.fetch(SERIES, "2024-01-01", "2024-01-01T04:00Z")
    assert vendor.open_calls == 0, "the generator is closed before the caller hears of it"
    assert provider.coverage(SERIES, "2024-01-01", "2024-01-01T04:00Z").counts["present"] <= 60


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (high_below_low, "quality.high_below_low"),
        (with_value("close", float("nan")), "quality.non_finite_price"),
        (with_value("high", float("inf")), "quality.non_finite_price"),
        (with_value("low", -1.0), "quality.nonpositive_price"),
        (contradicting, "temporal.conflicting_rows"),
    ],
    ids=["high below low", "NaN", "infinity", "negative price", "two rows for one bar"],
)
def test_impossible_rows_are_kept_aside_and_asked_for_again(make: Make, change: Any, rule: str) -> None:
    vendor = ScriptedVendor(page_rows=60, faults={1: Change(change)})
    provider = make(vendor)
    span = Span(DAWN, DAWN + 4 * HOUR)
    with pytest.raises(qmtl.MissingDataError) as caught:
        provider.fetch(SERIES, span.start, span.end)
    bar = Coverage.of(Span(DAWN + HOUR, DAWN + HOUR + MINUTE))
    assert caught.value.holes == {"unknown": bar}
    aside = provider.store.quarantined(SeriesId.parse(SERIES), span)
    assert set(aside["rule"]) == {rule}
    assert rule in str(caught.value)
    healed = provider.fetch(SERIES, span.start, span.end)
    assert vendor.calls[-1].span == bar.hull, "the smallest missing set is asked for again"
    assert_frame_equal(healed.frame, vendor.bars(SERIES, span))


def test_a_vendor_that_breaks_off_is_asked_for_the_rest(make: Make) -> None:
    vendor = ScriptedVendor(page_rows=60, faults={2: Raise(ConnectionResetError("cut"))})
    result = make(vendor).fetch(SERIES, "2024-01-01", "2024-01-01T05:00Z")
    assert result.frame.height == 300
    assert len(vendor.calls) == 2


@pytest.mark.parametrize("error", [ConnectionResetError("cut"), TimeoutError("slow"), ValueError("a bug")])
def test_a_vendor_that_fails_for_good_is_named(make: Make, error: Exception) -> None:
    vendor = ScriptedVendor(page_rows=60, faults={n: Raise(error) for n in range(2, 20)})
    provider = make(vendor)
    with pytest.raises(qmtl.SourceUnavailableError) as caught:
        provider.fetch(SERIES, "2024-01-01", "2024-01-01T05:00Z")
    assert caught.value.source == "ScriptedVendor"
    assert str(error) in str(caught.value)
    partial = provider.fetch(SERIES, "2024-01-01", "2024-01-01T05:00Z", partial_ok=True)
    assert partial.receipt.violations
    assert str(error) in partial.receipt.violations[0]


def test_a_series_without_a_vendor_says_so(make: Make) -> None:
    provider = make({"ohlcv:other:*": ScriptedVendor()})
    with pytest.raises(qmtl.MissingDataError, match="no vendor"):
        provider.fetch(SERIES, "2024-01-01", "2024-01-02")
    with pytest.raises(qmtl.InvalidRequestError, match="no vendor"):
        provider.backfill(SERIES, "2024-01-01", "2024-01-02")


def test_two_answers_for_one_bar_the_newer_wins_and_the_older_stays_readable(
    make: Make, clock: FakeClock
) -> None:
    vendor = ScriptedVendor()
    provider = make(vendor)
    first = provider.fetch(SERIES, "2024-01-01", "2024-01-01T01:00Z")
    corrected = first.frame.head(1).with_columns(volume=pl.col("volume") + 1.0)
    vendor.correct(SERIES, corrected)
    from qmtl.runtime.io.store.values import Write

    provider.store.commit(SeriesId.parse(SERIES), Write("hand", clock.now(), corrected))
    second = provider.fetch(SERIES, "2024-01-01", "2024-01-01T01:00Z")
    assert second.frame["volume"][0] == corrected["volume"][0]
    old = provider.fetch(SERIES, "2024-01-01", "2024-01-01T01:00Z", as_of=first.receipt.as_of)
    assert_frame_equal(old.frame, first.frame)
    assert old.receipt.fingerprint == first.receipt.fingerprint != second.receipt.fingerprint
    changes = provider.diff(SERIES, first.receipt.as_of, second.receipt.as_of)
    assert changes["change"].to_list() == ["changed"]


# -- budgets ----------------------------------------------------------------------------------------------


class SlowStore:
    """A store whose reads take `seconds` of the clock; a real one cannot be made to."""

    def __init__(self, store: Any, clock: FakeClock, seconds: float) -> None:
        self._store, self._clock, self._seconds = store, clock, seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def read(self, *args: Any, **options: Any) -> Any:
        self._clock.advance(self._seconds)
        return self._store.read(*args, **options)


@pytest.fixture
def embedded(tmp_path: Path, clock: FakeClock) -> Iterator[EmbeddedStore]:
    with EmbeddedStore(tmp_path / "bars", clock=clock) as store:
        yield store


def test_a_slow_store_spends_the_storage_budget(
    make: Make, clock: FakeClock, embedded: EmbeddedStore
) -> None:
    slow = SlowStore(embedded, clock, 3.0)
    provider = make(ScriptedVendor(), sla=qmtl.SLAPolicy(storage_wait="2s"), store=slow)
    with pytest.raises(qmtl.SeamlessSLAExceeded) as caught:
        provider.fetch(SERIES, "2024-01-01", "2024-01-02")
    assert caught.value.phase == "storage_wait"
    assert caught.value.budget_s == 2.0
    assert caught.value.elapsed_s == pytest.approx(3.0)
    assert caught.value.ledger["storage_wait"] == pytest.approx(3.0)


def test_a_slow_vendor_spends_the_backfill_budget_and_what_was_committed_stays(
    make: Make, clock: FakeClock
) -> None:
    vendor = ScriptedVendor(page_rows=60, delay=1.5)
    provider = make(vendor)
    before = clock.monotonic()
    with pytest.raises(qmtl.SeamlessSLAExceeded) as caught:
        provider.fetch(SERIES, "2024-01-01", "2024-01-02", sla=qmtl.SLAPolicy(backfill_wait=10.0))
    assert caught.value.phase == "backfill_wait"
    assert clock.monotonic() - before == pytest.approx(10.0, abs=0.3)
    assert vendor.open_calls == 0
    done = provider.coverage(SERIES, "2024-01-01", "2024-01-02").present
    assert done == Coverage.of(Span(DAWN, DAWN + 6 * HOUR)), "six pages of an hour came in ten seconds"
    vendor.delay = 0.0
    vendor.calls.clear()
    provider.fetch(SERIES, "2024-01-01", "2024-01-02")
    assert [call.span for call in vendor.calls] == [Span(DAWN + 6 * HOUR, DAWN + DAY)]


class TakenOver(MemoryLeases):
    """Leases that are somebody else's from a while after the first commit on."""

    taken = False

    async def renew(self, grants: Sequence[Granted], progress: ShardProgress) -> None:
        await super().renew(grants, progress)
        if self.taken:
            self._leases.clear()


@pytest.mark.parametrize("partial_ok", [False, True])
def test_a_lease_that_is_lost_ends_the_fetch_before_its_next_commit(
    make: Make, monkeypatch: pytest.MonkeyPatch, partial_ok: bool
) -> None:
    leases = TakenOver()
    monkeypatch.setattr("qmtl.runtime.sdk.fetch_asking.leases_of", lambda _: leases)
    vendor = ScriptedVendor(page_rows=60, delay=1.5)  # each page is a commit
    provider = make(vendor)
    leases.taken = True
    with pytest.raises(qmtl.LeaseError) as lost:
        provider.fetch(SERIES, "2024-01-01", "2024-01-02", partial_ok=partial_ok)
    assert lost.value.lease_key.endswith(f"/{SERIES}/{DAWN // (10_000 * MINUTE)}")
    stored = provider.coverage(SERIES, "2024-01-01", "2024-01-02").present
    assert stored == Coverage.of(Span(DAWN, DAWN + HOUR)), "what was committed stays, and nothing came after"
    assert vendor.open_calls == 0
    leases.taken = False
    vendor.calls.clear()
    assert provider.fetch(SERIES, "2024-01-01", "2024-01-02").frame.height == 1440
    assert [call.span for call in vendor.calls] == [Span(DAWN + HOUR, DAWN + DAY)]


@pytest.mark.parametrize("partial", [False, True])
def test_a_breach_is_logged_with_what_was_promised_and_what_came(
    make: Make, caplog: pytest.LogCaptureFixture, partial: bool
) -> None:
    provider = make(ScriptedVendor(page_rows=60, delay=1.5))
    policy = qmtl.SLAPolicy(backfill_wait=10.0, on_breach="partial" if partial else "raise")
    with caplog.at_level(logging.INFO, logger="seamless.sla"):
        if partial:
            provider.fetch(SERIES, "2024-01-01", "2024-01-02", sla=policy)
        else:
            with pytest.raises(qmtl.SeamlessSLAExceeded):
                provider.fetch(SERIES, "2024-01-01", "2024-01-02", sla=policy)
    (record,) = [record for record in caplog.records if record.name == "seamless.sla"]
    assert record.levelno == logging.WARNING
    told = vars(record)
    facts = {name: told[name] for name in ("event", "node_id", "interval", "start", "end", "phase", "limit")}
    assert facts == {
        "event": "sla.breach",
        "node_id": SERIES,
        "interval": "1m",
        "start": "2024-01-01",
        "end": "2024-01-02",
        "phase": "backfill_wait",
        "limit": 10.0,
    }
    assert told["observed"] == pytest.approx(10.0, abs=0.3)
    assert record.getMessage().startswith("sla.breach node_id=ohlcv:test:BTC/USDT:1m")


# No made-up bar closes so low.
SCHEMA = {
    "type": "object",
    "properties": {"ts": {"type": "integer"}, "close": {"type": "number", "maximum": 1.0}},
}


@pytest.mark.parametrize("partial_ok", [False, True])
def test_rows_that_break_the_schema_end_a_strict_fetch(
    make: Make, registry: CollectorRegistry, partial_ok: bool
) -> None:
    schemas = SchemaRegistryClient()
    schemas.set_level("NONE")
    schemas.register("ohlcv", Schema(json.dumps(SCHEMA), SchemaType.JSON))
    vendor = ScriptedVendor()
    strict = make(vendor, schemas=schemas, validation_mode="strict")
    with pytest.raises(qmtl.SchemaValidationError) as refused:
        strict.fetch(SERIES, "2024-01-01", "2024-01-02", partial_ok=partial_ok)
    assert (refused.value.subject, refused.value.mode) == ("ohlcv", "strict")
    assert [problem.column for problem in refused.value.problems] == ["close"]
    assert SERIES in str(refused.value)
    labels = {"subject": "ohlcv", "mode": "strict"}
    assert registry.get_sample_value("seamless_schema_validation_failures_total", labels) == 1440
    # What came is stored all the same: it is judged where it is handed out, by the schema of that day.
    vendor.calls.clear()
    canary = make(vendor, schemas=schemas, validation_mode="canary").fetch(
        SERIES, "2024-01-01", "2024-01-02", partial_ok=partial_ok
    )
    assert (canary.frame.height, vendor.calls) == (1440, [])
    assert canary.receipt.schema_id == "ohlcv:1"


def test_a_breach_can_be_answered_partially(make: Make) -> None:
    vendor = ScriptedVendor(page_rows=60, delay=1.5)
    policy = qmtl.SLAPolicy(total=10.0, on_breach="partial")
    result = make(vendor).fetch(SERIES, "2024-01-01", "2024-01-02", sla=policy)
    assert result.frame.height == 360
    assert result.coverage.counts["unknown"] == 1080
    assert "total budget of 10 s is spent" in result.receipt.violations[0]
    assert result.receipt.breach is not None


def test_the_ledger_of_phases_sums_to_the_total(
    make: Make, clock: FakeClock, embedded: EmbeddedStore
) -> None:
    provider = make(ScriptedVendor(page_rows=720, delay=1.0), store=SlowStore(embedded, clock, 0.5))
    phases = dict(provider.fetch(SERIES, "2024-01-01", "2024-01-02").receipt.phases)
    total = phases.pop("total")
    assert sum(phases.values()) == pytest.approx(total)
    # Within the backfill the store is not read again: nobody has committed since it was.
    assert phases["backfill_wait"] == pytest.approx(2.0)
    assert phases["storage_wait"] == pytest.approx(1.0)


@pytest.mark.parametrize("is_async", [False, True])
def test_the_total_of_a_cached_answer_includes_the_look_for_commits(
    make: Make, clock: FakeClock, embedded: EmbeddedStore, monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    provider = make(ScriptedVendor(), store=embedded)
    provider.fetch(SERIES, "2024-01-01", "2024-01-02")
    provider.fetch(SERIES, "2024-01-01", "2024-01-02")
    has_changed, looks = embedded.has_changed, []

    def look(token: Any) -> bool:
        looks.append(clock.advance(0.5))
        return has_changed(token)

    monkeypatch.setattr(embedded, "has_changed", look)
    if is_async:
        result = asyncio.run(provider.fetch_async(SERIES, "2024-01-01", "2024-01-02"))
    else:
        result = provider.fetch(SERIES, "2024-01-01", "2024-01-02")
    assert [served.tier for served in result.receipt.served] == ["cache"]
    assert looks
    assert result.receipt.phases["total"] == pytest.approx(0.5 * len(looks))


def test_a_vendor_deaf_to_cancellation_is_left_behind(make: Make, clock: FakeClock) -> None:
    vendor = ScriptedVendor(page_rows=60, faults={1: Hang(deaf=True)}, delay=0.5)
    policy = qmtl.SLAPolicy(backfill_wait=2.0, on_breach="partial")
    provider = make(vendor)
    before = clock.monotonic()
    result = provider.fetch(SERIES, "2024-01-01", "2024-01-01T04:00Z", sla=policy)
    assert clock.monotonic() - before <= 2.0 + 0.25 + 0.05
    # What came before is kept, and nothing of what comes later.
    assert_frame_equal(result.frame, vendor.bars(SERIES, Span(DAWN, DAWN + HOUR)))
    again = provider.fetch(SERIES, "2024-01-01", "2024-01-01T04:00Z")
    assert again.frame.height == 240, "its shards are free for the next caller"


class Stubborn(ScriptedVendor):
    """Never lets itself be cancelled, and answers long after everybody has left."""

    name = "stubborn"

    async def pages(self, series: SeriesId, span: Span) -> Any:
        wake = asyncio.get_running_loop().time() + 60
        while asyncio.get_running_loop().time() < wake:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue
        async for page in super().pages(series, span):
            yield page


def test_a_vendor_that_cannot_be_cancelled_is_abandoned_and_its_pages_discarded(
    make: Make,
) -> None:
    provider = make(Stubborn())
    result = provider.fetch(
        SERIES, "2024-01-01", "2024-01-02", sla=qmtl.SLAPolicy(backfill_wait=2.0, on_breach="partial")
    )
    assert result.receipt.phases["backfill_wait"] == pytest.approx(2.25)
    assert result.receipt.abandoned == ("stubborn",)
    with pytest.raises(qmtl.SeamlessSLAExceeded, match="stubborn ignored its cancellation"):
        provider.fetch(SERIES, "2024-01-01", "2024-01-02", sla=qmtl.SLAPolicy(backfill_wait=2.0))
    _run_for(provider, 120.0)
    assert provider.coverage(SERIES, "2024-01-01", "2024-01-02").counts["present"] == 0


def _run_for(provider: SeamlessDataProvider, seconds: float) -> None:
    """Let the provider's loop live on for so many seconds of its clock."""
    provider._parts.loop.submit(asyncio.sleep(seconds)).result(60)


def test_sync_gap_is_checked_before_any_vendor_is_asked(make: Make) -> None:
    vendor = ScriptedVendor()
    provider = make(vendor, sla=qmtl.SLAPolicy(sync_gap=1000))
    with pytest.raises(qmtl.SeamlessSLAExceeded) as caught:
        provider.fetch(SERIES, "2024-01-01", "2024-01-02")
    assert (caught.value.phase, caught.value.limit, caught.value.observed) == ("sync_gap", 1000, 1440)
    assert vendor.calls == []


def test_min_coverage_and_max_lag_are_judged_on_the_answer(make: Make) -> None:
    vendor = ScriptedVendor(page_rows=60, faults={1: Stop(), 2: Stop()})
    provider = make(vendor)
    for policy, phase in (
        (qmtl.SLAPolicy(min_coverage=0.9), "min_coverage"),
        (qmtl.SLAPolicy(max_lag="30m"), "max_lag"),
    ):
        with pytest.raises(qmtl.SeamlessSLAExceeded) as caught:
            provider.fetch(SERIES, "2024-01-01", "2024-01-01T04:00Z", sla=policy)
        assert caught.value.phase == phase


def test_one_callers_deadline_does_not_cancel_anothers_flight(make: Make, clock: FakeClock) -> None:
    vendor = ScriptedVendor(page_rows=60, delay=1.0)
    provider = make(vendor)

    async def both() -> list[Any]:
        hasty = provider.fetch_async(
            SERIES, "2024-01-01", "2024-01-02", sla=qmtl.SLAPolicy(backfill_wait=3.0)
        )
        patient = provider.fetch_async(SERIES, "2024-01-01", "2024-01-02")
        return await asyncio.gather(hasty, patient, return_exceptions=True)

    hasty, patient = asyncio.run(both())
    assert isinstance(hasty, qmtl.SeamlessSLAExceeded)
    assert patient.frame.height == 1440
    assert len(vendor.calls) == 1


# -- many callers -----------------------------------------------------------------------------------------


def test_identical_concurrent_calls_share_one_flight(make: Make) -> None:
    vendor = ScriptedVendor(page_rows=60, delay=0.5)
    provider = make(vendor)
    results: list[Any] = []

    def ask() -> None:
        results.append(provider.fetch(SERIES, "2024-01-01", "2024-01-02"))

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [r.frame.height for r in results] == [1440] * 5
    assert sum(call.span.length for call in vendor.calls) == DAY, "no bar was asked for twice"


def test_overlapping_calls_of_two_providers_ask_for_each_bar_once(make: Make) -> None:
    vendor = ScriptedVendor(page_rows=60, delay=0.2)
    one, two = make(vendor), make(vendor)

    async def both() -> list[Any]:
        return await asyncio.gather(
            one.fetch_async(SERIES, "2024-01-01", "2024-01-02"),
            two.fetch_async(SERIES, "2024-01-01", "2024-01-02"),
        )

    results = asyncio.run(both())
    assert [r.frame.height for r in results] == [1440, 1440]
    assert sum(call.span.length for call in vendor.calls) == DAY


def test_fetch_many_gives_a_long_frame(make: Make) -> None:
    names = ["ohlcv:test:B/USDT:1m", "ohlcv:test:A/USDT:5m"]
    vendor = ScriptedVendor()
    result = make(vendor).fetch_many(names, "2024-01-01", "2024-01-02")
    assert list(result.results) == names
    assert result.frame.columns == ["series", *BAR_SCHEMA.names()]
    assert result.frame["series"].value_counts(sort=True)["count"].to_list() == [1440, 288]
    assert_frame_equal(result[names[1]].frame, vendor.bars(names[1], Span(DAWN, DAWN + DAY)))


def test_the_async_face_gives_the_same(make: Make) -> None:
    provider = make(ScriptedVendor())

    async def ask() -> Any:
        async with provider:
            cold = await provider.fetch_async(SERIES, "2024-01-01", "2024-01-02")
            warm = await provider.fetch_async(SERIES, "2024-01-01", "2024-01-02")
            return cold, warm

    cold, warm = asyncio.run(ask())
    assert_frame_equal(cold.frame, warm.frame)
    assert cold.receipt.fingerprint == warm.receipt.fingerprint


def test_a_commit_of_another_provider_is_seen_at_once(make: Make) -> None:
    vendor = ScriptedVendor()
    reader, writer = make(vendor), make(vendor)
    reader.fetch(SERIES, "2024-01-01", "2024-01-02")
    assert [s.tier for s in reader.fetch(SERIES, "2024-01-01", "2024-01-02").receipt.served] == ["cache"]
    row = vendor.bars(SERIES, Span(DAWN, DAWN + MINUTE)).with_columns(volume=pl.lit(77.0))
    from qmtl.runtime.io.store.values import Write

    writer.store.commit(SeriesId.parse(SERIES), Write("hand", DAWN, row))
    assert reader.fetch(SERIES, "2024-01-01", "2024-01-02").frame["volume"][0] == 77.0


# -- the live tail ----------------------------------------------------------------------------------------


def tail_of(vendor: ScriptedVendor, minutes: int) -> pl.DataFrame:
    end = to_ns("2024-02-01")
    return vendor.bars(SERIES, Span(end - minutes * MINUTE, end))


def test_the_live_tail_brings_what_the_vendor_lags_behind(make: Make) -> None:
    market = ScriptedVendor()
    newest = tail_of(market, 2)
    vendor = ScriptedVendor(page_rows=58, faults={1: Stop()})
    feed = ScriptedFeed(
        [
            Deliver(0.5, newest.tail(1), closed=False),
            Deliver(1.0, newest.head(1)),
            Deliver(1.0, newest.tail(1)),
        ]
    )
    provider = make(vendor, live=feed)
    result = provider.fetch(SERIES, "2024-01-31T23:00Z", "2024-02-01", sla=qmtl.SLAPolicy(live_wait=5.0))
    assert_frame_equal(result.frame, tail_of(market, 60))
    assert [(s.tier, s.source) for s in result.receipt.served] == [
        ("backfill", "ScriptedVendor"),
        ("live", "ScriptedFeed"),
    ]
    assert result.receipt.phases["live_wait"] == pytest.approx(2.5)
    assert feed.open_calls == 0


def test_a_silent_feed_spends_the_live_budget(make: Make, clock: FakeClock) -> None:
    vendor = ScriptedVendor(page_rows=58, faults={1: Stop()})
    provider = make(vendor, live=ScriptedFeed([]))
    with pytest.raises(qmtl.SeamlessSLAExceeded) as caught:
        provider.fetch(SERIES, "2024-01-31T23:00Z", "2024-02-01", sla=qmtl.SLAPolicy(live_wait=5.0))
    assert caught.value.phase == "live_wait"
    assert caught.value.elapsed_s == pytest.approx(5.0)


def test_without_a_budget_a_silent_feed_ends_as_missing(make: Make) -> None:
    vendor = ScriptedVendor(page_rows=58, faults={1: Stop()})
    provider = make(vendor, live=ScriptedFeed([]))
    with pytest.raises(qmtl.MissingDataError):
        provider.fetch(SERIES, "2024-01-31T23:00Z", "2024-02-01")


def test_a_feed_that_breaks_off_is_a_source_that_failed(make: Make) -> None:
    vendor = ScriptedVendor(page_rows=58, faults={1: Stop()})
    provider = make(vendor, live=ScriptedFeed([ConnectionResetError("gone")]))
    with pytest.raises(qmtl.SourceUnavailableError, match="live feed"):
        provider.fetch(SERIES, "2024-01-31T23:00Z", "2024-02-01")


def test_no_feed_is_opened_when_the_tail_is_there(make: Make) -> None:
    feed = ScriptedFeed([])
    provider = make(ScriptedVendor(), live=feed)
    provider.fetch(SERIES, "2024-01-01", "2024-01-02")
    provider.fetch(SERIES, "2024-01-01", "2024-01-02")
    assert len(feed.calls) <= 1


# -- conformance ------------------------------------------------------------------------------------------


def spiked(frame: pl.DataFrame, row: int) -> pl.DataFrame:
    """One bar with a low that nobody believes."""
    low = frame["low"].to_numpy().copy()
    low[row] = low[row] / 20
    return frame.with_columns(low=pl.Series(low))


def test_a_suspicious_bar_raises_until_it_is_accepted(make: Make) -> None:
    good = ScriptedVendor().bars(SERIES, Span(DAWN, DAWN + DAY))
    provider = make(ScriptedVendor({SERIES: spiked(good, 700)}))
    with pytest.raises(qmtl.ConformancePipelineError) as caught:
        provider.fetch(SERIES, "2024-01-01", "2024-01-02")
    report = caught.value.report
    assert [(f.rule, f.count, f.first_ts) for f in report.findings if f.raises] == [
        ("quality.price_spike", 1, DAWN + 700 * MINUTE)
    ]
    served = provider.fetch(SERIES, "2024-01-01", "2024-01-02", partial_ok=True)
    assert served.frame.height == 1440, "nothing real is dropped"
    assert served.report.warnings == 1
    assert provider.last_conformance_report is served.report

    assert provider.accept(SERIES, "2024-01-01", "2024-01-02") == {"quality.price_spike": (1, 1)}
    assert provider.accept(SERIES, "2024-01-01", "2024-01-02") == {"quality.price_spike": (1, 0)}
    assert provider.fetch(SERIES, "2024-01-01", "2024-01-02").frame.height == 1440


def test_a_report_is_archived_when_data_changes_and_when_something_new_is_found(make: Make) -> None:
    good = ScriptedVendor().bars(SERIES, Span(DAWN, DAWN + DAY))
    provider = make(ScriptedVendor({SERIES: spiked(good, 700)}))
    series = SeriesId.parse(SERIES)
    provider.fetch(SERIES, "2024-01-01", "2024-01-02", partial_ok=True)
    assert len(provider.store.reports(series)) == 1
    for _ in range(3):
        provider.fetch(SERIES, "2024-01-01", "2024-01-02", partial_ok=True)
    provider.fetch(SERIES, "2024-01-01T11:00Z", "2024-01-01T12:00Z", partial_ok=True)
    assert len(provider.store.reports(series)) == 1, "a read that finds nothing new writes nothing"


def test_an_implausible_silence_is_asked_about_once_more(make: Make, clock: FakeClock) -> None:
    hole = Coverage.of(Span(NOON, NOON + 5 * HOUR))
    vendor = ScriptedVendor(no_trade=hole)
    provider = make(vendor)
    with pytest.raises(qmtl.ConformancePipelineError, match=r"temporal\.silence"):
        provider.fetch(SERIES, "2024-01-01", "2024-01-03")
    vendor.no_trade = Coverage()
    clock.advance(25 * 3600)
    vendor.calls.clear()
    healed = provider.fetch(SERIES, "2024-01-01", "2024-01-03")
    assert [call.span for call in vendor.calls] == [hole.hull]
    assert healed.frame.height == 2880
    assert healed.report.heal is not None
    assert healed.report.heal.healed == hole


# -- requests that cannot be answered ---------------------------------------------------------------------

BAD_REQUESTS: dict[str, tuple[dict[str, Any], str]] = {
    "reversed": ({"start": "2024-01-02", "end": "2024-01-01"}, "comes after"),
    "future": ({"start": "2024-03-01", "end": "2024-04-01"}, "future"),
    "too early": ({"start": "1500-01-01", "end": "2024-01-01"}, "1677-09-22"),
    "not a time": ({"start": "yesterday", "end": "2024-01-01"}, "not a time"),
    "strategy": ({"start": "2024-01-01", "end": "2024-01-02", "strategy": "FAST"}, "FAIL_FAST"),
    "fill": ({"start": "2024-01-01", "end": "2024-01-02", "fill": "zero"}, "flat"),
    "timeframe": (
        {"series": "ohlcv:test:A/B:7m", "start": "2024-01-01", "end": "2024-01-02"},
        "divides a day",
    ),
    "kind": ({"series": "bars:test:A/B:1m", "start": "2024-01-01", "end": "2024-01-02"}, "kind"),
    "node id": ({"series": "BTC/USDT", "start": "2024-01-01", "end": "2024-01-02"}, "node id"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS, ids=list(BAD_REQUESTS))
def test_a_request_that_cannot_be_answered_says_why(make: Make, case: str) -> None:
    request, words = BAD_REQUESTS[case]
    vendor = ScriptedVendor()
    with pytest.raises(qmtl.InvalidRequestError, match=words):
        make(vendor).fetch(**{"series": SERIES, **request})
    assert vendor.calls == []


def test_an_empty_range_is_an_empty_frame_with_the_schema(make: Make) -> None:
    vendor = ScriptedVendor()
    result = make(vendor).fetch(SERIES, "2024-01-01", "2024-01-01")
    assert result.frame.schema == BAR_SCHEMA
    assert result.frame.height == 0
    assert vendor.calls == []


def test_a_closed_provider_says_so(make: Make) -> None:
    provider = make(ScriptedVendor())
    provider.close()
    provider.close()
    with pytest.raises(qmtl.InvalidRequestError, match="closed"):
        provider.fetch(SERIES, "2024-01-01", "2024-01-02")


# -- what operators see -----------------------------------------------------------------------------------


def test_a_backfill_is_logged_with_node_interval_start_and_end(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="seamless.backfill"):
        make(ScriptedVendor()).fetch(SERIES, "2024-01-01", "2024-01-02")
    events = [
        record.getMessage().split()[0] for record in caplog.records if record.name == "seamless.backfill"
    ]
    assert events == ["backfill.started", "backfill.committed", "backfill.completed"]
    for record in caplog.records:
        if record.name == "seamless.backfill":
            assert record.node_id == SERIES  # type: ignore[attr-defined]
            assert record.interval == "1m"  # type: ignore[attr-defined]
            assert (record.start, record.end) == ("2024-01-01", "2024-01-02")  # type: ignore[attr-defined]


def test_progress_is_a_gauge_while_it_lasts_and_gone_afterwards(
    make: Make, registry: CollectorRegistry
) -> None:
    provider = make(ScriptedVendor(page_rows=40_000))
    ratios: dict[str, list[float]] = defaultdict(list)

    def look(progress: Any) -> None:
        samples = [s for m in registry.collect() for s in m.samples if s.name == "backfill_completion_ratio"]
        for sample in samples:
            assert (sample.labels["node_id"], sample.labels["interval"]) == (SERIES, "1m")
            ratios[sample.labels["lease_key"]].append(sample.value)

    provider.fetch(SERIES, "2023-11-01", "2024-01-02", on_progress=look)
    width = provider.store.shard_steps * MINUTE
    shards = range(to_ns("2023-11-01") // width, (to_ns("2024-01-02") - 1) // width + 1)
    assert list(ratios) == [f"{provider.store.place_id}/{SERIES}/{shard}" for shard in shards]
    for seen in ratios.values():
        assert len(seen) >= 2
        assert seen == sorted(seen)
        assert seen[-1] == 1.0
    left = [s for m in registry.collect() for s in m.samples if s.name == "backfill_completion_ratio"]
    assert left == []


def test_each_phase_is_observed(make: Make, registry: CollectorRegistry) -> None:
    make(ScriptedVendor(delay=2.0)).fetch(SERIES, "2024-01-01", "2024-01-02")
    labels = {"node_id": SERIES, "phase": "backfill_wait"}
    assert registry.get_sample_value("seamless_sla_deadline_seconds_sum", labels) == pytest.approx(2.0)
    total = {"node_id": SERIES, "phase": "total"}
    assert registry.get_sample_value("seamless_sla_deadline_seconds_count", total) == 1.0


def test_a_receipt_can_be_kept_as_json(make: Make) -> None:
    import json

    receipt = make(ScriptedVendor()).fetch(SERIES, "2024-01-01", "2024-01-02").receipt
    kept = json.loads(json.dumps(receipt.to_json()))
    assert kept["bars"]["present"] == 1440
    assert kept["served"] == [
        {"tier": "backfill", "source": "ScriptedVendor", "spans": [["2024-01-01", "2024-01-02"]]}
    ]
    assert kept["calendar"] == "24x7 (default)"
    assert kept["as_of_iso"] == iso(kept["as_of"])
    assert kept["fingerprint"].startswith("blake3:")


def test_a_backfill_of_what_is_all_there_needs_no_vendor(make: Make) -> None:
    day = ("2024-01-01", "2024-01-02")
    series = "ohlcv:test:BTC/USDT:1m"
    make(ScriptedVendor()).backfill(series, *day)
    alone = make()
    assert alone.backfill(series, *day).counts["present"] == 1_440
    assert alone.backfill([series], *day)[series].counts["present"] == 1_440
    with pytest.raises(qmtl.InvalidRequestError, match="no vendor serves"):
        alone.backfill(series, "2024-01-01", "2024-01-03")
