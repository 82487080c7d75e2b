"""Asking again and taking back: corrections win, nothing is lost, and each commit can be read again."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.errors import InvalidRequestError, MissingDataError, SourceUnavailableError
from qmtl.foundation.leases import LeaseKey
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.runtime.coordination.local_leases import LocalLeases
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing import Raise, ScriptedVendor, Stop
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.lease_suite import claimed_elsewhere

BOTH_ENGINES = True

SERIES = SeriesId.parse("ohlcv:test:BTC/USDT:1m")
START = to_ns("2024-01-01")
HOUR = Span(START, START + 60 * MINUTE)
Make = Callable[..., SeamlessDataProvider]


def minutes(first: int, last: int) -> Span:
    return Span(START + first * MINUTE, START + last * MINUTE)


def ask(provider: SeamlessDataProvider, span: Span = HOUR, **options: object) -> pl.DataFrame:
    return provider.fetch(SERIES, span.start, span.end, **options).frame  # type: ignore[arg-type]  # options by name


def corrected_by_a_little(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("open", "high", "low", "close") * 1.0001)


def test_a_correction_at_the_source_is_seen_by_refresh_and_the_old_bar_by_as_of(make: Make) -> None:
    vendor = ScriptedVendor()
    provider = make(vendor)
    before = provider.fetch(SERIES, *HOUR)
    vendor.correct(SERIES, corrected := corrected_by_a_little(vendor.bars(SERIES, minutes(10, 12))))
    assert_frame_equal(ask(provider), before.frame)  # a stored answer is not asked again by itself

    result = provider.refresh(SERIES, *HOUR)

    assert (result.asked, result.answered, result.unconfirmed) == (
        Coverage.of(HOUR),
        Coverage.of(HOUR),
        Coverage(),
    )
    assert result.corrections["change"].to_list() == ["changed", "changed"]
    assert result.corrections["new_close"].to_list() == corrected["close"].to_list()
    assert result.corrections["old_close"].to_list() == before.frame["close"].to_list()[10:12]
    now = ask(provider)
    assert_frame_equal(now[10:12], corrected)
    assert_frame_equal(now[12:], before.frame[12:])
    assert_frame_equal(ask(provider, as_of=result.before), before.frame)
    assert_frame_equal(ask(provider, as_of=result.as_of), now)
    assert len(vendor.calls) == 2


def test_refresh_asks_for_answered_bars_only_and_in_one_question_a_run(make: Make) -> None:
    vendor = ScriptedVendor(no_trade=Coverage.of(minutes(5, 8)), absent=Coverage.of(minutes(50, 55)))
    provider = make(vendor)
    provider.fetch(SERIES, *minutes(0, 20), partial_ok=True)
    provider.fetch(SERIES, *minutes(40, 60), partial_ok=True)
    vendor.calls.clear()
    vendor.no_trade = Coverage.of(minutes(6, 8))  # a late bar arrived at the source
    vendor.absent = Coverage()

    result = provider.refresh(SERIES, *HOUR)

    assert [call.span for call in vendor.calls] == [minutes(0, 20), minutes(40, 60)]
    assert result.states.counts == {"present": 38, "no_trade": 2, "closed": 0, "absent": 0, "unknown": 20}
    assert result.corrections["change"].to_list() == ["added"] * 6


def test_a_bar_that_the_source_no_longer_has_is_kept_and_named(make: Make) -> None:
    vendor = ScriptedVendor()
    provider = make(vendor)
    before = ask(provider)
    vendor.no_trade = Coverage.of(minutes(3, 6))
    result = provider.refresh(SERIES, *HOUR)
    assert result.unconfirmed == Coverage.of(minutes(3, 6))
    assert result.corrections.is_empty()
    assert_frame_equal(ask(provider), before)


def test_an_impossible_answer_to_refresh_changes_no_row(make: Make) -> None:
    vendor = ScriptedVendor()
    provider = make(vendor)
    before = ask(provider)
    bad = before[4:5].with_columns(high=pl.col("low") - 1)
    vendor.correct(SERIES, bad)
    result = provider.refresh(SERIES, *HOUR)
    assert (result.quarantined, result.unconfirmed, result.corrections.height) == (1, Coverage(), 0)
    assert [finding.severity for finding in result.findings] == ["error"]
    again = provider.fetch(SERIES, *HOUR)
    assert_frame_equal(again.frame, before)
    assert [served.cells for served in again.receipt.served] == [Coverage.of(HOUR)], "with who brought it"


def test_a_refresh_that_fails_keeps_all(make: Make) -> None:
    vendor = ScriptedVendor(faults={1: Raise(SourceUnavailableError("down", source="x"))})
    provider = make(vendor)
    before = ask(provider)
    with pytest.raises(SourceUnavailableError, match="down"):
        provider.refresh(SERIES, *HOUR)
    assert_frame_equal(ask(provider, strategy="FAIL_FAST"), before)


def test_what_a_refresh_was_not_answered_for_keeps_its_earlier_answer(make: Make) -> None:
    vendor = ScriptedVendor(page_rows=20, faults={4: Stop()})
    provider = make(vendor)
    before = ask(provider)
    result = provider.refresh(SERIES, *HOUR)
    assert result.answered == Coverage.of(minutes(0, 20))
    assert result.states.counts["present"] == 60
    assert_frame_equal(ask(provider, strategy="FAIL_FAST"), before)


def test_refresh_needs_a_vendor(make: Make) -> None:
    with pytest.raises(InvalidRequestError, match="no vendor serves this series"):
        make().refresh(SERIES, *HOUR)


def test_refreshing_nothing_asks_nobody(make: Make) -> None:
    vendor = ScriptedVendor()
    result = make(vendor).refresh(SERIES, *HOUR)
    assert (vendor.calls, result.asked, result.states.counts["unknown"]) == ([], Coverage(), 60)


def test_who_waits_for_a_claim_takes_an_answer_that_was_asked_for_after_its_own_call(
    make: Make, clock: FakeClock
) -> None:
    """One that was asked for before may be older than the correction: it is asked for again."""
    vendor = ScriptedVendor()
    one, other = make(vendor), make(vendor)
    ask(one)
    vendor.calls.clear()
    opened = clock.now()
    key = LeaseKey(one.store.place_id, str(SERIES), START // (10_000 * MINUTE))
    with claimed_elsewhere(LocalLeases(one.store.folder / "claims"), key):
        waiting = ThreadPoolExecutor().submit(other.refresh, SERIES, *HOUR)
        while "_asking" not in vars(other._fetcher) or not other._fetcher._asking._flights._under_way:
            time.sleep(0.01)
        clock.advance(1)
        one.store.commit(SERIES, Write("x", opened + 1, answered=Coverage.of(minutes(0, 30))))
        one.store.commit(SERIES, Write("y", opened - 1, answered=Coverage.of(minutes(30, 60))))
    waiting.result(30)
    assert [call.span for call in vendor.calls] == [minutes(30, 60)]


# -- retract


def test_a_retracted_answer_is_unknown_recorded_and_readable_as_of(make: Make) -> None:
    vendor = ScriptedVendor()
    provider = make(vendor)
    before = ask(provider)
    result = provider.retract(SERIES, *minutes(10, 20), reason=" a proxy mixed up two symbols ")
    assert (result.rows, result.changed, result.span) == (10, True, minutes(10, 20))
    states = provider.coverage(SERIES, *HOUR)
    assert states.unknown == Coverage.of(minutes(10, 20))
    with pytest.raises(MissingDataError):
        ask(provider, strategy="FAIL_FAST")
    assert_frame_equal(ask(provider, as_of=result.before), before)
    newest = provider.commits(SERIES).row(-1, named=True)
    assert (newest["kind"], newest["reason"]) == ("retract", "a proxy mixed up two symbols")
    assert (newest["as_of"], newest["committed_at"].timestamp()) == (
        result.as_of,
        pytest.approx(result.as_of / 1e9),
    )
    assert (to_ns(newest["start"]), to_ns(newest["end"])) == minutes(10, 20)
    assert_frame_equal(ask(provider), before)  # the vendor was asked again
    assert vendor.calls[-1].span == minutes(10, 20)


def test_every_commit_time_reads_what_was_known_then(make: Make) -> None:
    vendor = ScriptedVendor()
    provider = make(vendor)
    frames = []
    for step in range(3):
        vendor.correct(SERIES, corrected_by_a_little(vendor.bars(SERIES, minutes(step, step + 1))))
        provider.fetch(SERIES, *minutes(0, 10 * (step + 1)))
        frames.append(
            provider.refresh(SERIES, *HOUR) and ask(provider, partial_ok=True, strategy="FAIL_FAST")
        )
    times = provider.commits(SERIES)["as_of"].to_list()
    assert times == sorted(set(times))
    read = [ask(provider, as_of=time, partial_ok=True) for time in times]
    for frame in frames:
        assert any(frame.equals(one) for one in read)


def test_commits_of_an_unknown_series_are_none(make: Make) -> None:
    commits = make().commits(SERIES)
    assert commits.is_empty()
    assert commits.columns == ["as_of", "committed_at", "kind", "start", "end", "writer", "reason"]


def test_what_bears_on_the_whole_series_has_no_ends(make: Make) -> None:
    provider = make(ScriptedVendor(), calendars={"*": "24x7"})
    provider.store.declare(SERIES, provider.import_parts.declared.of(SERIES)[0])
    assert provider.commits(SERIES).select("start", "end").rows() == [(None, None)]


@pytest.mark.parametrize("reason", ["", "  ", None, 7, "x" * 1_001])
def test_a_retraction_needs_a_reason(make: Make, reason: object) -> None:
    provider = make(ScriptedVendor())
    ask(provider)
    with pytest.raises(InvalidRequestError, match="is not a reason"):
        provider.retract(SERIES, *HOUR, reason=reason)  # type: ignore[arg-type]  # on purpose
    assert provider.coverage(SERIES, *HOUR).counts["present"] == 60


def test_retracting_what_nobody_knows_commits_nothing(make: Make) -> None:
    provider = make(ScriptedVendor())
    result = provider.retract(SERIES, *HOUR, reason="to be sure")
    assert (result.rows, result.changed) == (0, False)
    assert provider.commits(SERIES).is_empty()


def test_results_are_json(make: Make) -> None:
    vendor = ScriptedVendor()
    provider = make(vendor)
    ask(provider)
    vendor.correct(SERIES, corrected_by_a_little(vendor.bars(SERIES, minutes(1, 2))))
    vendor.no_trade = Coverage.of(minutes(3, 4))
    json = provider.refresh(SERIES, *HOUR).to_json()
    assert (json["asked"], json["answered"], json["corrections"]) == (60, 60, 1)
    assert json["unconfirmed"] == [["2024-01-01T00:03:00Z", "2024-01-01T00:04:00Z"]]
    json = provider.retract(SERIES, *HOUR, reason="why not").to_json()
    assert (json["rows"], json["changed"], np.sign(json["as_of"] - json["before"])) == (60, True, 1)
