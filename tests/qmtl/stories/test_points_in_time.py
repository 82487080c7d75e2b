"""What `as_of` accepts, and that the same point in time always gives the same answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from polars.testing import assert_frame_equal

import qmtl
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE, SECOND, to_ns
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import ScriptedVendor

BOTH_ENGINES = True

Make = Callable[..., SeamlessDataProvider]

SERIES = "ohlcv:test:BTC/USDT:1m"
DAWN = to_ns("2024-01-01")


class SteppingClock(FakeClock):
    """A wall clock that can be set back."""

    back = 0

    def now(self) -> int:
        return super().now() - self.back


@pytest.mark.parametrize("back", [0, HOUR], ids=["commits at one instant", "a clock that steps back"])
def test_what_was_committed_can_be_read_as_of_its_time(make: Make, back: int) -> None:
    clock = SteppingClock("2024-02-01T00:00:30Z")
    provider = make(ScriptedVendor(page_rows=20), clock=clock)
    for hour in range(4):  # each is a commit, and the clock stands still
        provider.backfill(SERIES, DAWN + hour * HOUR, DAWN + (hour + 1) * HOUR)
    clock.back = back
    result = provider.fetch(SERIES, DAWN, DAWN + 4 * HOUR)
    as_of = result.receipt.as_of
    assert as_of > clock.now()
    again = provider.fetch(SERIES, DAWN, DAWN + 4 * HOUR, as_of=as_of)
    assert_frame_equal(again.frame, result.frame)
    assert again.receipt.as_of == as_of
    assert provider.coverage(SERIES, DAWN, DAWN + 4 * HOUR, as_of=as_of).counts["present"] == 240
    assert provider.diff(SERIES, as_of - 1, as_of).height == 60


@pytest.mark.parametrize("reader", ["fetch", "coverage", "diff", "diff, the earlier"])
def test_what_nobody_can_know_yet_is_refused_by_every_reader(make: Make, reader: str) -> None:
    provider = make(ScriptedVendor())
    as_of = provider.fetch(SERIES, DAWN, DAWN + HOUR).receipt.as_of
    late = as_of + SECOND
    ask = {
        "fetch": lambda: provider.fetch(SERIES, DAWN, DAWN + HOUR, as_of=late),
        "coverage": lambda: provider.coverage(SERIES, DAWN, DAWN + HOUR, as_of=late),
        "diff": lambda: provider.diff(SERIES, as_of, late),
        "diff, the earlier": lambda: provider.diff(SERIES, late, as_of),
    }[reader]
    with pytest.raises(qmtl.InvalidRequestError, match="lies in the future") as refused:
        ask()
    assert refused.value.series == SERIES


def test_an_absence_read_as_of_then_is_judged_then(make: Make, clock: FakeClock) -> None:
    gone = Coverage.of(Span(DAWN + 10 * MINUTE, DAWN + 20 * MINUTE))
    provider = make(ScriptedVendor(absent=gone))
    as_of = provider.fetch(SERIES, DAWN, DAWN + HOUR, partial_ok=True).receipt.as_of
    for hours in (0, 23, 48):
        clock.advance(hours * 3600)
        reported = provider.fetch(SERIES, DAWN, DAWN + HOUR, as_of=as_of, partial_ok=True).coverage
        assert reported.absent == gone, "its time does not pass"
        assert provider.coverage(SERIES, DAWN, DAWN + HOUR, as_of=as_of).absent == gone
    assert provider.coverage(SERIES, DAWN, DAWN + HOUR).unknown == gone, "now it has expired"
    later = as_of + DAY
    assert provider.coverage(SERIES, DAWN, DAWN + HOUR, as_of=later).unknown == gone, "and it had by then"


@pytest.mark.parametrize("who", ["itself", "another"])
def test_an_answer_after_a_compaction_names_a_time_that_can_be_read(make: Make, who: str) -> None:
    """A compaction changes no bar, but takes away the commits that a cached answer was read at."""
    clock = FakeClock("2024-02-01")
    provider, other = (make(ScriptedVendor(), clock=clock, retention=HOUR / SECOND) for _ in range(2))
    provider.fetch(SERIES, DAWN, DAWN + HOUR)
    before = provider.fetch(SERIES, DAWN, DAWN + HOUR)
    assert before.receipt.served[0].tier == "cache"
    clock.advance(2 * HOUR / SECOND)
    other.fetch("ohlcv:test:ETH/USDT:1m", DAWN, DAWN + HOUR)  # a commit that the horizon can move to
    clock.advance(2 * HOUR / SECOND)
    (provider if who == "itself" else other).store.compact()  # type: ignore[attr-defined]  # of this engine
    with pytest.raises(qmtl.StoreError, match="no longer knows"):
        provider.fetch(SERIES, DAWN, DAWN + HOUR, as_of=before.receipt.as_of)
    after = provider.fetch(SERIES, DAWN, DAWN + HOUR)
    again = provider.fetch(SERIES, DAWN, DAWN + HOUR, as_of=after.receipt.as_of)
    assert_frame_equal(again.frame, before.frame)
