"""What is declared is kept with the data that rests on it, holds, and cannot be contradicted unnoticed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import qmtl
from qmtl.foundation.calendars import FX
from qmtl.foundation.facts import NOTHING_DECLARED
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, HOUR
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import Deliver, Raise, ScriptedFeed, ScriptedVendor

BOTH_ENGINES = True

Make = Callable[..., SeamlessDataProvider]

SERIES = "ohlcv:test:X:1h"
NODE = SeriesId.parse(SERIES)
WEEK = ("2024-01-01", "2024-01-08")
# The end of the last closed hour.
TAIL = 1_706_742_000 * 10**9
PLACES: dict[str, dict[str, Any]] = {
    "calendars=": {"calendars": {"*": "FX"}},
    "settings": {"declared": [("*", qmtl.SeriesFacts(calendar="FX"))]},
}


def on_weekdays() -> ScriptedVendor:
    return ScriptedVendor(grid=Grid(NODE.timeframe, FX))


@pytest.mark.parametrize("place", PLACES)
def test_what_is_declared_is_kept_with_the_first_commit_and_never_by_a_read(make: Make, place: str) -> None:
    provider = make(on_weekdays(), **PLACES[place])
    provider.coverage(SERIES, *WEEK)
    provider.fetch(SERIES, *WEEK, strategy="FAIL_FAST", partial_ok=True)
    assert provider.store.facts(NODE) is None
    assert provider.store.newest().tx == 0
    as_of = provider.fetch(SERIES, *WEEK).receipt.as_of
    assert provider.store.facts(NODE) == qmtl.SeriesFacts(calendar="FX")
    assert provider.store.newest().tx == 1, "with the bars, in one commit"
    provider.close()
    # Whoever opens the store without a word of it sees the same weekend.
    other = make(on_weekdays())
    assert other.coverage(SERIES, *WEEK).counts["closed"] == 48
    assert other.fetch(SERIES, *WEEK, as_of=as_of).receipt.calendar == "FX"


def test_a_vendor_that_fails_leaves_nothing_declared(make: Make) -> None:
    vendor = ScriptedVendor(faults={0: Raise(qmtl.SourceUnavailableError("down", source="x"))})
    provider = make(vendor, calendars={"*": "FX"})
    with pytest.raises(qmtl.SourceUnavailableError):
        provider.fetch(SERIES, *WEEK)
    assert provider.store.facts(NODE) is None


@pytest.mark.parametrize(
    ("stored", "output"),
    [
        ({"calendar": "FX"}, {"calendar": "24x7"}),
        ({"calendar": "24x7"}, {"calendar": "FX"}),
        ({"anchor": "session"}, {"anchor": "clock"}),
        ({"anchor": "clock"}, {"anchor": "session"}),
        ({"allow_nonpositive": True}, {"allow_nonpositive": False}),
        ({"has_volume": False}, {"has_volume": True}),
        ({"has_volume": True}, {"has_volume": False}),
    ],
)
def test_a_default_that_is_stated_contradicts(
    make: Make, stored: dict[str, Any], output: dict[str, Any]
) -> None:
    with make(on_weekdays(), declared=[("*", qmtl.SeriesFacts(**stored))]) as first:
        first.fetch(SERIES, *WEEK, partial_ok=True)
    second = make(on_weekdays(), declared=[("*", qmtl.SeriesFacts(**output))])
    with pytest.raises(qmtl.InvalidRequestError, match="disagree") as refused:
        second.fetch(SERIES, *WEEK)
    (name,) = output
    why = refused.value.why or ""
    assert f"the store says {stored[name]!r}, seamless.series says {output[name]!r}" == why
    assert refused.value.series == SERIES


def test_what_is_not_stated_contradicts_nothing(make: Make) -> None:
    with make(on_weekdays(), declared=[("*", qmtl.SeriesFacts(calendar="FX"))]) as first:
        first.fetch(SERIES, *WEEK, partial_ok=True)
    second = make(on_weekdays(), declared=[("*", qmtl.SeriesFacts(anchor="clock"))])
    assert second.fetch(SERIES, *WEEK).receipt.calendar == "FX"


def test_a_calendar_of_ones_own_is_never_kept(make: Make) -> None:
    class Mornings:
        def sessions(self, span: Span) -> Coverage:
            days = range(span.start // DAY, span.end // DAY + 1)
            return Coverage((day * DAY, day * DAY + 12 * HOUR) for day in days)

    mornings = Grid(NODE.timeframe, Mornings())
    provider = make(ScriptedVendor(grid=mornings), calendars={"*": Mornings()})
    assert provider.fetch(SERIES, *WEEK).coverage.counts["closed"] == 7 * 12
    assert provider.store.facts(NODE) in (None, NOTHING_DECLARED)


def test_a_point_in_time_is_judged_by_what_was_declared_then(make: Make) -> None:
    with make(on_weekdays(), calendars={"*": "FX"}) as first:
        as_of = first.fetch(SERIES, *WEEK).receipt.as_of
    first = make(on_weekdays())
    first.store.declare(NODE, qmtl.SeriesFacts(calendar="24x7"))
    second = make(on_weekdays(), calendars={"*": "24x7"})
    assert second.coverage(SERIES, *WEEK).counts["closed"] == 0
    assert second.coverage(SERIES, *WEEK, as_of=as_of).counts["closed"] == 48
    reported = second.fetch(SERIES, *WEEK, as_of=as_of, partial_ok=True)
    assert reported.receipt.calendar == "FX"


def test_a_declaration_that_changed_under_a_fetch_refuses_its_commit(make: Make) -> None:
    others = make()

    class Meanwhile(ScriptedVendor):
        async def pages(self, series: SeriesId, span: Span) -> Any:
            others.store.declare(NODE, qmtl.SeriesFacts(calendar="XNYS"))
            async for page in super().pages(series, span):
                yield page

    provider = make(Meanwhile(), calendars={"*": "FX"})
    with pytest.raises(qmtl.InvalidRequestError, match="disagree"):
        provider.fetch(SERIES, *WEEK)
    assert provider.store.read(NODE, Span(0, 2 * 10**18)).frame.is_empty()


def test_a_live_bar_keeps_what_is_declared_too(make: Make) -> None:
    vendor = on_weekdays()
    tail = Span(TAIL - HOUR, TAIL)
    feed = ScriptedFeed([Deliver(0.0, vendor.bars(SERIES, tail))])
    provider = make({}, live=feed, declared=[("*", qmtl.SeriesFacts(has_volume=True))])
    provider.fetch(SERIES, *tail)
    assert provider.store.facts(NODE) == qmtl.SeriesFacts(has_volume=True)


@pytest.mark.parametrize("how", ["fetch", "backfill", "pending", "live"])
@pytest.mark.parametrize(
    ("facts", "message"),
    [
        # Sessions of XNYS open at half past the hour, and the stored bars at the full one.
        (
            qmtl.SeriesFacts(calendar="XNYS", anchor="session"),
            "stored bars would not lie on the grid any more",
        ),
        # The calendar library has no sessions of that exchange.
        (qmtl.SeriesFacts(calendar="XTAE"), "XTAE cannot be built"),
    ],
    ids=["another grid", "cannot be built"],
)
def test_what_settings_declare_is_tried_on_the_bars_stored_earlier_before_it_is_kept(
    make: Make, clock: FakeClock, how: str, facts: qmtl.SeriesFacts, message: str
) -> None:
    with make(ScriptedVendor()) as first:
        before = first.fetch(SERIES, *WEEK).frame
    clock.advance(15.75 * 3600)  # in a session of New York
    tail = ("2024-02-01T14:00Z", "2024-02-01T15:30Z")
    vendor = ScriptedVendor()
    feed = ScriptedFeed([])
    second = make({} if how == "live" else vendor, live=feed, declared=[("*", facts)])
    asking = {
        "fetch": lambda: second.fetch(SERIES, "2024-01-09", "2024-01-10"),
        "backfill": lambda: second.backfill(SERIES, "2024-01-09", "2024-01-10"),
        "pending": lambda: second.fetch(
            SERIES, "2024-01-09", "2024-01-10", strategy="PARTIAL_FILL"
        ).pending.wait(),
        "live": lambda: second.fetch(SERIES, *tail),
    }
    with pytest.raises(qmtl.InvalidRequestError, match=message) as refused:
        asking[how]()
    assert refused.value.series == SERIES
    assert vendor.calls == []
    assert second.store.facts(NODE) is None
    second.close()
    # Without that declaration all is as before.
    assert make(ScriptedVendor()).fetch(SERIES, *WEEK).frame.equals(before)


def test_what_fits_the_bars_stored_earlier_is_kept(make: Make) -> None:
    with make(on_weekdays()) as first:
        first.fetch(SERIES, *WEEK, partial_ok=True)
    second = make(on_weekdays(), declared=[("*", qmtl.SeriesFacts(calendar="FX"))])
    assert second.fetch(SERIES, *WEEK, strategy="FAIL_FAST").coverage.counts["closed"] == 48
    second.fetch(SERIES, "2024-01-08", "2024-01-09")
    assert second.store.facts(NODE) == qmtl.SeriesFacts(calendar="FX")
