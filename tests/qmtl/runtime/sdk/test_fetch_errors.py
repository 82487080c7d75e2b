"""What an answer lacks, in the order in which it is raised, and what each error says."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from qmtl.foundation.errors import MissingDataError, SourceUnavailableError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import empty_bars
from qmtl.foundation.grid import Grid
from qmtl.foundation.schema.governance.decisions import ValidationMode
from qmtl.foundation.series import SeriesId
from qmtl.foundation.sla import SLAPolicy
from qmtl.foundation.states import BarStates
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import HOUR
from qmtl.runtime.conformance.flags import EMPTY_FLAGS
from qmtl.runtime.conformance.registered_schema import NOT_CHECKED
from qmtl.runtime.ingest.backfill_result import BackfillResult
from qmtl.runtime.io.coverage_scan import NOT_REFUSED, Refused
from qmtl.runtime.io.evaluated_range import EvaluatedRange
from qmtl.runtime.planning.fetch_state import Finish, initial_state
from qmtl.runtime.planning.ledger import Breach
from qmtl.runtime.planning.request import STRATEGIES, Request
from qmtl.runtime.sdk.fetch_context import FetchEnd
from qmtl.runtime.sdk.fetch_errors import (
    Asked,
    describe,
    faults_of,
    first_spans,
    missing_error,
    sla_error,
)
from qmtl.runtime.sdk.schema_enforcer import SchemaBinding
from qmtl.runtime.sdk.series_profile import SeriesProfile
from qmtl.runtime.sdk.sources import Unserved

SERIES = SeriesId.parse("ohlcv:test:A/B:1h")
GRID = Grid(SERIES.timeframe)
SPAN = Span(0, 10 * HOUR)
UNKNOWN, ABSENT, DAMAGED = (Coverage.of(Span(at * HOUR, (at + 2) * HOUR)) for at in (2, 5, 8))
LOST = f"the store is damaged in {DAMAGED.hull}: what was stored there is lost"
SPENT = Breach("total", budget_s=2.0, elapsed_s=2.5)
FAILED = SourceUnavailableError("the vendor is down", source="v", why="no route")
NO_REASONS = Asked(
    lambda _: empty_bars(), lambda _: NOT_REFUSED, lambda: None, lambda: pytest.fail("no report")
)


def request(strategy: str = "SEAMLESS", **facts: Any) -> Request:
    return Request(SERIES, SPAN, SPAN, STRATEGIES[strategy], SPAN.end)._replace(**facts)


def ended(
    asked: Request,
    *,
    unknown: Coverage = EMPTY,
    absent: Coverage = EMPTY,
    damaged: Coverage = EMPTY,
    breach: Breach | None = None,
    failure: SourceUnavailableError | None = None,
    backfill: BackfillResult | None = None,
) -> FetchEnd:
    present = Coverage.of(SPAN) - unknown - absent - damaged
    states = BarStates(SPAN, GRID, present, EMPTY, EMPTY, absent, unknown | damaged, damaged)
    facts = SeriesFacts()
    evaluated = EvaluatedRange(
        SERIES,
        GRID,
        facts,
        empty_bars(),
        states,
        EMPTY_FLAGS,
        NOT_CHECKED,
        answers=(),
        tx=1,
        as_of=1,
        valid_until=None,
    )
    binding = SchemaBinding(None, "ohlcv", ValidationMode.CANARY)
    return FetchEnd(
        SeriesProfile(SERIES, GRID, facts, None, None, binding, None),
        initial_state(asked, GRID),
        Finish(breach, failure, unknown | absent | damaged, EMPTY),
        evaluated,
        backfill,
        changed_data=False,
        fill=None,
        opened=0.0,
        phases={},
    )


def faults(end: FetchEnd) -> list[tuple[str, bool]]:
    found = faults_of(end, NOT_CHECKED, NO_REASONS, phases={"total": 2.5}, found=())
    return [(fault.text.split(" (")[0], fault.raises) for fault in found]


def test_a_clean_answer_has_no_faults() -> None:
    assert faults(ended(request())) == []


def test_they_come_in_the_order_sla_damage_source_missing() -> None:
    end = ended(request(), unknown=UNKNOWN, absent=ABSENT, damaged=DAMAGED, breach=SPENT, failure=FAILED)
    assert faults(end) == [
        ("total budget of 2 s is spent after 2.500 s", True),
        (LOST, True),
        ("the vendor is down: no route", True),
        ("bars are missing: 2 unknown", True),
    ]


def test_a_partial_answer_is_reported_the_same_and_raises_nothing() -> None:
    end = ended(request(partial_ok=True), unknown=UNKNOWN, breach=SPENT, failure=FAILED)
    assert [raises for _, raises in faults(end)] == [False, False, False]


def test_a_breach_that_is_answered_takes_its_holes_with_it() -> None:
    policy = SLAPolicy(total=2.0, on_breach="partial")
    end = ended(request(sla=policy), unknown=UNKNOWN, breach=SPENT, failure=FAILED)
    assert [raises for _, raises in faults(end)] == [False, False, False]
    # Without a breach the same policy lets holes raise.
    assert faults(ended(request(sla=policy), unknown=UNKNOWN)) == [("bars are missing: 2 unknown", True)]


def test_a_source_that_failed_is_forgiven_where_nothing_is_missing() -> None:
    assert faults(ended(request(), failure=FAILED)) == [("the vendor is down: no route", False)]


def test_partial_fill_takes_holes_for_granted() -> None:
    assert faults(ended(request("PARTIAL_FILL"), unknown=UNKNOWN)) == []


def test_what_damage_took_is_not_called_missing_beside_it() -> None:
    assert faults(ended(request(), damaged=DAMAGED)) == [(LOST, True)]


def test_an_abandoned_source_is_named() -> None:
    left = BackfillResult("deaf", abandoned=True)
    assert ended(request(), backfill=left).abandoned == ("deaf",)
    assert ended(request(), backfill=BackfillResult("kind")).abandoned == ()
    error = sla_error(SPENT, request(), {"total": 2.5}, ["deaf"])
    assert error.ledger == {"total": 2.5, "abandoned": ("deaf",)}
    assert error.why == "deaf ignored its cancellation and was left behind"


@pytest.mark.parametrize(
    ("breach", "text"),
    [
        (Breach("sync_gap", limit=10, observed=24), "sync_gap: 24 bars, limit 10"),
        (Breach("min_coverage", limit=0.9, observed=0.5), "min_coverage: 0.5 of the bars, limit 0.9"),
        (Breach("max_lag", limit=60, observed=3600), "max_lag: 3600 s, limit 60"),
        (
            Breach("live_wait", budget_s=0.5, elapsed_s=0.75),
            "live_wait budget of 0.5 s is spent after 0.750 s",
        ),
    ],
)
def test_a_breach_in_one_line(breach: Breach, text: str) -> None:
    assert describe(breach) == text


def missing(
    asked: Request, unknown: Coverage = EMPTY, absent: Coverage = EMPTY, **reasons: Any
) -> MissingDataError:
    return missing_error(asked, GRID, unknown, absent, NO_REASONS._replace(**reasons))


def test_missing_bars_say_in_which_state_and_why() -> None:
    error = missing(request(), UNKNOWN, ABSENT)
    assert error.what == (f"bars are missing: 2 unknown ({UNKNOWN.hull}), 2 absent ({ABSENT.hull})")
    assert error.holes == {"unknown": UNKNOWN, "absent": ABSENT}
    assert (error.why or "").endswith("; the source says that it has none")
    assert missing(request(), absent=ABSENT).holes == {"absent": ABSENT}


@pytest.mark.parametrize(
    ("asked", "reasons", "why", "next_step"),
    [
        (request("FAIL_FAST"), {}, "strategy FAIL_FAST asks no vendor", "use `strategy='AUTO_BACKFILL'`"),
        (
            request(as_of=5),
            {},
            "the store is read as it was at 1970-01-01T00:00:00.000000005Z",
            "give a later `as_of=`",
        ),
        (
            request(),
            {"unserved": lambda: Unserved("nobody is there", "name somebody")},
            "nobody is there",
            "name somebody; `partial_ok=True`",
        ),
        (request(), {}, "the source has not answered for them", "call again later"),
    ],
    ids=["no vendor by strategy", "point in time", "no vendor at all", "no answer"],
)
def test_why_bars_are_unknown(asked: Request, reasons: dict[str, Any], why: str, next_step: str) -> None:
    if asked.as_of is not None:
        asked = asked._replace(strategy=STRATEGIES["FAIL_FAST"])
    error = missing(asked, UNKNOWN, **reasons)
    assert (error.why or "").startswith(why)
    assert (error.next_step or "").startswith(next_step)


def test_refused_rows_are_the_reason_where_they_are_of_the_missing_bars() -> None:
    rows = (
        empty_bars()
        .clear(3)
        .with_columns(
            pl.Series("ts", [2 * HOUR, 3 * HOUR, 9 * HOUR]).cast(pl.Datetime("ns", "UTC")),
            rule=pl.lit("quality.high_below_low"),
        )
    )
    resting = Refused(UNKNOWN, UNKNOWN, until=20 * HOUR)
    error = missing(request(), UNKNOWN, quarantined=lambda _: rows, refused=lambda _: resting)
    assert error.why == (
        "quality.high_below_low refused 2 rows, the first at 1970-01-01T02:00:00Z; "
        "2 bars refused twice: not asked for again before 1970-01-01T20:00:00Z"
    )
    assert (error.next_step or "").startswith("`refresh(...)` asks for refused bars now")


def test_only_the_first_spans_are_shown() -> None:
    cells = Coverage((at * HOUR, at * HOUR + 1) for at in range(5))
    assert first_spans(cells, most=2).endswith(" and 3 more spans")
    assert first_spans(cells, most=4).endswith(" and 1 more span")
    assert "more" not in first_spans(cells, most=5)
