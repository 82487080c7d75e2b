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
from qmtl.runtime.testing.vendors import Raise, ScriptedFeed, ScriptedVendor, Tell

Make = Callable[..., SeamlessDataProvider]

SERIES = "ohlcv:test:X:1h"
NODE = SeriesId.parse(SERIES)
WEEK = ("2024-01-01", "2024-01-08")
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
    assert provider.store.last_tx() == 0
    as_of = provider.fetch(SERIES, *WEEK).receipt.as_of
    assert provider.store.facts(NODE) == qmtl.SeriesFacts(calendar="FX")
    assert provider.store.last_tx() == 1, "with the bars, in one commit"
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
    ("stored", "said"),
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
def test_a_default_that_is_said_aloud_contradicts(
    make: Make, stored: dict[str, Any], said: dict[str, Any]
) -> None:
    with make(on_weekdays(), declared=[("*", qmtl.SeriesFacts(**stored))]) as first:
        first.fetch(SERIES, *WEEK, partial_ok=True)
    second = make(on_weekdays(), declared=[("*", qmtl.SeriesFacts(**said))])
    with pytest.raises(qmtl.InvalidRequestError, match="disagree") as refused:
        second.fetch(SERIES, *WEEK)
    (name,) = said
    why = refused.value.why or ""
    assert f"the store says {stored[name]!r}, seamless.series says {said[name]!r}" == why
    assert refused.value.series == SERIES


def test_what_is_not_said_contradicts_nothing(make: Make) -> None:
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
    told = second.fetch(SERIES, *WEEK, as_of=as_of, partial_ok=True)
    assert told.receipt.calendar == "FX"


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
    tail = Span(1_706_742_000 * 10**9 - HOUR, 1_706_742_000 * 10**9)
    feed = ScriptedFeed([Tell(0.0, vendor.bars(SERIES, tail))])
    provider = make({}, live=feed, declared=[("*", qmtl.SeriesFacts(has_volume=True))])
    provider.fetch(SERIES, *tail)
    assert provider.store.facts(NODE) == qmtl.SeriesFacts(has_volume=True)
