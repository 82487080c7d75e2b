"""What is asked for: aligned, cut where bars have not closed, and refused where it makes no sense."""

from __future__ import annotations

from typing import Any

import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import HOUR, MINUTE
from qmtl.runtime.planning.request import STRATEGIES, Request, Tier, request_of, strategy_named

SERIES = SeriesId.parse("ohlcv:test:A/B:1h")
NOW = 10 * HOUR + 30 * MINUTE


def asked(first: int, last: int | None, **options: Any) -> Request:
    options = {
        "now": NOW,
        "strategy": STRATEGIES["SEAMLESS"],
        "sla": None,
        "partial_ok": False,
        "as_of": None,
        **options,
    }
    return request_of(SERIES, Grid(SERIES.timeframe), first, last, **options)


def test_a_range_is_widened_to_the_bars_that_open_within_it() -> None:
    request = asked(1, 3 * HOUR + 1)
    assert request.span == Span(HOUR, 4 * HOUR)
    assert request.closed == request.span


def test_without_an_end_it_is_the_last_closed_bar() -> None:
    request = asked(8 * HOUR, None)
    assert request.span == request.closed == Span(8 * HOUR, 10 * HOUR)


def test_what_has_not_closed_is_asked_for_and_is_no_hole() -> None:
    request = asked(8 * HOUR, 12 * HOUR)
    assert request.span == Span(8 * HOUR, 12 * HOUR)
    assert request.closed == Span(8 * HOUR, 10 * HOUR)


def test_a_range_that_begins_in_the_forming_bar_has_no_closed_part() -> None:
    assert asked(10 * HOUR, 12 * HOUR).closed == Span(10 * HOUR, 10 * HOUR)
    assert asked(10 * HOUR, None).span == Span(10 * HOUR, 10 * HOUR)


def test_an_empty_range_is_no_mistake() -> None:
    assert asked(2 * HOUR, 2 * HOUR).span.is_empty


def test_a_range_that_ends_before_it_starts_is_refused_with_both_ends() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        asked(2 * HOUR, HOUR)
    assert caught.value.what == "start 1970-01-01T02:00:00Z comes after end 1970-01-01T01:00:00Z"
    assert caught.value.series == SERIES.text


@pytest.mark.parametrize("last", [None, 20 * HOUR])
def test_a_range_wholly_in_the_future_is_refused_with_the_time_that_it_is(last: int | None) -> None:
    with pytest.raises(InvalidRequestError, match="wholly in the future") as caught:
        asked(NOW, last)
    assert caught.value.why == "it is 1970-01-01T10:30:00Z now"
    asked(NOW - 1, last)


def test_a_point_in_time_is_read_from_the_store_alone() -> None:
    assert asked(0, HOUR, as_of=5).tiers == (Tier.STORAGE,)
    assert asked(0, HOUR).tiers == (Tier.CACHE, Tier.STORAGE, Tier.BACKFILL, Tier.LIVE)


@pytest.mark.parametrize("name", ["seamless", "", None, ["SEAMLESS"]])
def test_a_strategy_that_is_not_known_is_refused_with_those_that_are(name: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        strategy_named(name)
    assert caught.value.next_step == "use one of FAIL_FAST, AUTO_BACKFILL, PARTIAL_FILL, SEAMLESS"


@pytest.mark.parametrize(
    ("partial_ok", "named", "expected"),
    [
        (False, None, "raise"),
        (True, None, "report"),
        (True, "raise", "raise"),
        (False, "observe", "observe"),
    ],
)
def test_findings_raise_unless_partial_answers_are_welcome_or_something_else_is_named(
    partial_ok: bool, named: Any, expected: str
) -> None:
    assert asked(0, HOUR, partial_ok=partial_ok, on_findings=named).findings == expected
