"""Damage of the store is told by every question that meets it, and is never called missing."""

from collections.abc import Callable

import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.errors import SeamlessSLAExceeded, SourceUnavailableError, StoreCorruptError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.sla import SLAPolicy
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import to_ns
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing import Raise, ScriptedVendor
from qmtl.runtime.testing.bars import synthetic_bars

SERIES = "ohlcv:test:BTC/USDT:1m"
ASKED = ("2024-01-01", "2024-01-11")
SPAN = Span(*map(to_ns, ASKED))
BARS = synthetic_bars(SeriesId.parse(SERIES), SPAN)

BOTH_ENGINES = True

Make = Callable[..., SeamlessDataProvider]


def flip_a_byte(make: Make, chunk: int = 1) -> Coverage:
    """Change one byte of a chunk; the range that it held."""
    with make() as provider, provider.store._database.writing() as connection:
        (data,) = connection.execute("SELECT data FROM blob WHERE chunk = ?", (chunk,)).fetchone()
        (first, last) = connection.execute(
            "SELECT first_ts, last_ts FROM chunk WHERE id = ?", (chunk,)
        ).fetchone()
        middle = len(data) // 2
        broken = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        connection.execute("UPDATE blob SET data = ? WHERE chunk = ?", (broken, chunk))
        connection.execute("COMMIT")
    return Coverage.of(Span(first, last + SeriesId.parse(SERIES).timeframe.step))


@pytest.fixture
def filled(make: Make) -> None:
    """The store is one that a vendor has filled."""
    with make(ScriptedVendor()) as provider:
        provider.fetch(SERIES, *ASKED)


@pytest.mark.usefixtures("filled")
def test_it_heals_within_the_request_and_is_reported(make: Make) -> None:
    lost = flip_a_byte(make)
    vendor = ScriptedVendor()
    provider = make(vendor)
    result = provider.fetch(SERIES, *ASKED)
    assert_frame_equal(result.frame, BARS, check_exact=True)
    assert [one.span for one in vendor.calls] == [lost.hull], "what is whole is not asked for again"
    (finding,) = [found for found in result.report.findings if found.rule == "storage.damaged"]
    assert (finding.severity, finding.count, finding.first_ts) == ("error", 7_200, lost.hull.start)
    assert (result.receipt.healed, result.receipt.damaged) == (lost, EMPTY)
    assert result.receipt.archived
    again = provider.fetch(SERIES, *ASKED)
    assert "storage.damaged" not in [found.rule for found in again.report.findings]
    assert provider.store.verify().is_sound


@pytest.mark.usefixtures("filled")
def test_without_a_vendor_it_is_corrupt_again_and_again(make: Make) -> None:
    lost = flip_a_byte(make)
    provider = make()
    for strategy in ("SEAMLESS", "FAIL_FAST", "AUTO_BACKFILL", "SEAMLESS"):
        with pytest.raises(StoreCorruptError) as refused:
            provider.fetch(SERIES, *ASKED, strategy=strategy)
        assert refused.value.damaged == lost
        assert refused.value.series == SERIES
        assert refused.value.next_step
        verification = provider.store.verify()
        assert [Coverage.of(one.span) for one in verification.lost] == [lost]
    assert provider.fetch(SERIES, "2024-01-10", "2024-01-11").frame.height == 1_440, "the rest is served"


@pytest.mark.usefixtures("filled")
def test_partial_ok_answers_with_the_finding_and_the_holes(make: Make) -> None:
    lost = flip_a_byte(make)
    provider = make(partial_ok=True)
    for _ in range(2):
        result = provider.fetch(SERIES, *ASKED)
        assert result.frame.height == BARS.height - 7_200
        assert result.receipt.damaged == lost
        assert result.coverage.damaged == lost
        assert result.coverage.unknown == lost
        assert [found.count for found in result.report.findings if found.rule == "storage.damaged"] == [7_200]
        assert "damaged" in repr(result.receipt)
        assert result.receipt.to_json()["damaged"]


@pytest.mark.usefixtures("filled")
def test_coverage_names_it(make: Make) -> None:
    lost = flip_a_byte(make)
    provider = make()
    for _ in range(2):
        states = provider.coverage(SERIES, *ASKED)
        assert (states.damaged, states.unknown) == (lost, lost)
    part = Span(lost.hull.start, lost.hull.start + 60 * 10**9)
    assert states.clip(part).damaged == Coverage.of(part)


@pytest.mark.usefixtures("filled")
def test_a_point_in_time_tells_and_writes_nothing(make: Make) -> None:
    with make() as provider:
        as_of = provider.fetch(SERIES, *ASKED).receipt.as_of
    lost = flip_a_byte(make)
    provider = make()
    known, reports = provider.store.newest().tx, len(provider.store.reports())
    for _ in range(2):
        with pytest.raises(StoreCorruptError) as refused:
            provider.fetch(SERIES, *ASKED, as_of=as_of)
        assert refused.value.damaged == lost
        assert provider.fetch(SERIES, *ASKED, as_of=as_of, partial_ok=True).receipt.damaged == lost
        assert provider.coverage(SERIES, *ASKED, as_of=as_of).damaged == lost
    assert provider.store.newest().tx == known
    assert provider.store.info().lost == 0
    assert len(provider.store.reports()) == reports


@pytest.mark.usefixtures("filled")
def test_a_source_that_fails_does_not_hide_it(make: Make) -> None:
    lost = flip_a_byte(make)
    error = SourceUnavailableError("the exchange is down", source="test")
    with pytest.raises(StoreCorruptError, match="the exchange is down") as refused:
        make(ScriptedVendor(faults={page: Raise(error) for page in range(9)})).fetch(SERIES, *ASKED)
    assert refused.value.damaged == lost


@pytest.mark.usefixtures("filled")
def test_a_breach_does_not_hide_it(make: Make) -> None:
    flip_a_byte(make)
    with pytest.raises(SeamlessSLAExceeded, match="the store is damaged in"):
        make(ScriptedVendor()).fetch(SERIES, *ASKED, sla=SLAPolicy(sync_gap=5))


@pytest.mark.usefixtures("filled")
def test_a_partial_fill_heals_behind_the_answer(make: Make) -> None:
    lost = flip_a_byte(make)
    provider = make(ScriptedVendor())
    result = provider.fetch(SERIES, *ASKED, strategy="PARTIAL_FILL")
    assert result.receipt.damaged == lost
    result.pending.wait(30)
    assert_frame_equal(provider.fetch(SERIES, *ASKED).frame, BARS, check_exact=True)
    assert provider.store.verify().is_sound


@pytest.mark.usefixtures("filled")
def test_warnings_are_not_accepted_over_it(make: Make) -> None:
    flip_a_byte(make)
    with pytest.raises(StoreCorruptError):
        make().accept(SERIES, *ASKED)


def test_an_earlier_close_is_not_taken_from_beyond_it(make: Make) -> None:
    """Flat bars repeat the close before them: not one that stood before the damage."""
    quiet = Span(SPAN.end - 600 * 10**9, SPAN.end)
    with make(ScriptedVendor(no_trade=Coverage.of(quiet))) as provider:
        provider.fetch(SERIES, *ASKED, partial_ok=True)
        filled = provider.fetch(SERIES, quiet.start, quiet.end, fill="flat", partial_ok=True).frame
        assert filled.height == 10
    flip_a_byte(make, 2)
    with make(partial_ok=True) as provider:
        assert provider.fetch(SERIES, quiet.start, quiet.end, fill="flat").frame.height == 0


@pytest.mark.usefixtures("filled")
def test_a_refresh_has_nothing_left_to_compare_with(make: Make) -> None:
    lost = flip_a_byte(make)
    with pytest.raises(StoreCorruptError) as refused:
        make(ScriptedVendor()).refresh(SERIES, *ASKED)
    assert refused.value.damaged == lost
