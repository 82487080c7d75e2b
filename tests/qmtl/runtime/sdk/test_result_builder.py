"""The end of a fetch becomes an answer or an error: what is archived, counted, compared and raised."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

import qmtl
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.fingerprint import fingerprint
from qmtl.foundation.frames import bars, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.observability.metrics import Metrics
from qmtl.foundation.schema.governance.decisions import ValidationMode
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import bar_states
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import HOUR
from qmtl.runtime.conformance.acceptance import accept
from qmtl.runtime.conformance.flags import EMPTY_FLAGS, Flags
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.rules import PRICE_JUMP, PRICE_SPIKE
from qmtl.runtime.ingest.backfill_result import BackfillResult
from qmtl.runtime.io.evaluated_range import EvaluatedRange
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import CoverageRecord, Write
from qmtl.runtime.planning.attribution import Served, Turn
from qmtl.runtime.planning.fetch_state import Finish, initial_state
from qmtl.runtime.planning.ledger import Breach, Ledger
from qmtl.runtime.planning.request import STRATEGIES, Request, Tier
from qmtl.runtime.sdk.fetch_context import FetchEnd
from qmtl.runtime.sdk.result_builder import ResultBuilder
from qmtl.runtime.sdk.schema_enforcer import SchemaBinding, SchemaEnforcer, own, validate
from qmtl.runtime.sdk.series_profile import SeriesProfile
from qmtl.runtime.sdk.sources import Unserved
from qmtl.runtime.testing.clock import FakeClock

SERIES = SeriesId.parse("ohlcv:test:A/B:1h")
GRID = Grid(SERIES.timeframe)
SPAN = Span(0, 5 * HOUR)
# The third bar did not trade.
FRAME = bars(
    np.array([0, 1, 3, 4]) * HOUR,
    {name: [1.0, 2.0, 3.0, 4.0] for name in ("open", "high", "low", "close", "volume")},
)
SPIKE = Flags.of({PRICE_SPIKE: np.array([HOUR])})


class Setting:
    """A builder over a real store; counts the reads of its archive, reports put together, and samples."""

    def __init__(self, store: EmbeddedStore, clock: FakeClock) -> None:
        self.store, self.registry, self.clock = store, CollectorRegistry(), clock
        self.reads: list[str] = []
        self.archiving_takes_s = 0.0
        schemas = SchemaEnforcer(None, store, mode=None, default=ValidationMode.CANARY, clock=clock)
        self.schemas = schemas
        self.builder = ResultBuilder(
            self,  # type: ignore[arg-type]  # the store, but for its counting of reads
            ConformancePipeline(),
            schemas,
            Metrics(self.registry),
            lambda _: Unserved("nobody serves it", "name somebody"),
            clock,
        )

    def answer(self, end: FetchEnd, version: Any) -> qmtl.FetchResult:
        """The answer of a fetch that took a second until here."""
        end = end._replace(opened=self.clock.monotonic() - 1.0, phases={})
        try:
            return self.builder.answer(end, version)
        finally:
            self.builder.close(end)

    def __getattr__(self, name: str) -> Any:
        if name in ("baseline_report", "newest_report", "accepted"):
            self.reads.append(name)
        return getattr(self.store, name)

    def archive_report(self, series: SeriesId, report: Any) -> int | None:
        self.clock.advance(self.archiving_takes_s)
        return self.store.archive_report(series, report)

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, {"node_id": SERIES.text, **labels}) or 0.0


@pytest.fixture
def setting(tmp_path: Path, clock: FakeClock) -> Iterator[Setting]:
    with EmbeddedStore(tmp_path / "bars", clock=clock) as store:
        yield Setting(store, clock)


def ended(*, flags: Flags = EMPTY_FLAGS, **facts: Any) -> FetchEnd:
    """A fetch of `FRAME` that the store answered; `facts` replace those of its end, state or request."""
    request = Request(SERIES, SPAN, SPAN, STRATEGIES["SEAMLESS"], SPAN.end)
    request = request._replace(**{name: facts.pop(name) for name in ("partial_ok", "as_of") if name in facts})
    answered = Coverage.of(SPAN)
    binding = SchemaBinding(own("ohlcv"), "ohlcv", facts.pop("mode", ValidationMode.CANARY))
    states = bar_states(SPAN, GRID, stamps(FRAME), answered, EMPTY)
    evaluated = EvaluatedRange(
        SERIES,
        GRID,
        SeriesFacts(),
        FRAME,
        states,
        flags,
        validate(FRAME, binding),
        answers=[CoverageRecord(0, SPAN.end, "answered", "vendor", 1, None)],
        tx=1,
        as_of=77,
        valid_until=None,
    )
    state = initial_state(request, GRID)._replace(
        found_unknown=EMPTY, answered_by=Tier.STORAGE, ledger=Ledger(storage_wait=0.25)
    )
    state = state._replace(**{name: facts.pop(name) for name in ("turns", "asked_again") if name in facts})
    end = FetchEnd(
        SeriesProfile(SERIES, GRID, SeriesFacts(), None, None, binding, None),
        state,
        Finish(None, None, EMPTY, EMPTY),
        evaluated,
        None,
        changed_data=False,
        fill=None,
        opened=0.0,
        phases={},
    )
    return end._replace(**facts)


def test_a_clean_answer_is_the_frame_and_its_receipt(setting: Setting) -> None:
    result = setting.answer(ended(), version=1)
    assert result.frame.equals(FRAME)
    assert result.frame is not FRAME, "the cache has it too"
    receipt = result.receipt
    assert receipt.phases == {
        "storage_wait": 0.25,
        "backfill_wait": 0.0,
        "live_wait": 0.0,
        "other": 0.75,
        "total": 1.0,
    }
    assert receipt.served == (Served(Tier.STORAGE, "vendor", Coverage.of(SPAN)),)
    assert receipt.fingerprint == fingerprint(FRAME)
    assert (receipt.as_of, receipt.schema_id, receipt.archived, receipt.violations) == (
        77,
        "ohlcv:1",
        None,
        (),
    )
    assert result.coverage.counts["no_trade"] == 1
    assert result.report.passes
    assert setting.store.newest_report(SERIES) is None, "a read that finds nothing writes nothing"
    assert setting.count("seamless_bars_served_total", tier="storage") == 4


def test_bars_are_counted_by_the_tier_that_brought_them(setting: Setting) -> None:
    two = Coverage.of(Span(0, 2 * HOUR))
    turns = (Turn(Tier.BACKFILL, two | Coverage.of(Span(2 * HOUR, 3 * HOUR))),)
    result = setting.answer(
        ended(turns=turns, backfill=BackfillResult("vendor"), changed_data=True), version=1
    )
    assert setting.count("seamless_bars_served_total", tier="backfill") == 2
    assert setting.count("seamless_bars_served_total", tier="storage") == 2
    assert [row.tier for row in result.receipt.served] == [Tier.BACKFILL, Tier.STORAGE]


def test_what_reports_are_compared_with_is_read_once_per_version_of_the_store(setting: Setting) -> None:
    for version in (1, 1, 2, 1):
        setting.answer(ended(), version=version)
    assert setting.reads == ["baseline_report"] * 2


def test_flags_that_were_archived_already_cost_no_report_and_no_read(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    flagged = ended(flags=SPIKE, partial_ok=True)
    setting.answer(flagged, version=1)  # archives it
    setting.answer(flagged, version=2)  # has seen the archive
    setting.reads.clear()
    with monkeypatch.context() as patched:
        patched.setattr(ConformancePipeline, "report", lambda *_, **__: pytest.fail("nobody asked for it"))
        again = setting.answer(flagged, version=2)
    assert setting.reads == []
    assert again.receipt.archived is None
    assert again.receipt.violations == (
        "the data does not conform: warning quality.price_spike: 1 bar, first 1970-01-01T01:00:00Z",
    )
    assert again.report.warnings == 1, "it is there for whoever asks"
    setting.store.accept(SERIES, accept(SPIKE, FRAME, PRICE_SPIKE, step=HOUR))
    assert setting.answer(ended(flags=SPIKE), version=3).report.passes


def test_the_total_is_taken_when_all_else_is_done(setting: Setting) -> None:
    setting.archiving_takes_s = 2.0
    result = setting.answer(ended(flags=SPIKE, partial_ok=True), version=1)
    assert result.receipt.phases["total"] == pytest.approx(3.0)
    assert result.receipt.phases["other"] == pytest.approx(2.75)
    assert setting.count("seamless_sla_deadline_seconds_sum", phase="total") == pytest.approx(3.0)
    jump = Flags.of({PRICE_JUMP: np.array([HOUR])})
    breach = Breach("total", budget_s=2.0, elapsed_s=2.5)
    with pytest.raises(qmtl.SeamlessSLAExceeded) as caught:
        setting.answer(ended(flags=jump, finish=Finish(breach, None, EMPTY, EMPTY)), version=1)
    assert caught.value.ledger["total"] == pytest.approx(3.0)


def test_a_report_is_archived_when_data_changed_and_when_it_finds_something_new(setting: Setting) -> None:
    changed = ended(backfill=BackfillResult("vendor", added=4), changed_data=True)
    assert setting.answer(changed, version=1).receipt.archived is True
    partial = ended(flags=SPIKE, partial_ok=True)
    assert setting.answer(partial, version=1).receipt.archived is True
    assert setting.answer(partial, version=1).receipt.archived is None, "nothing new was found"
    assert len(setting.store.reports(SERIES)) == 2


def test_a_point_in_time_archives_nothing(setting: Setting) -> None:
    result = setting.answer(ended(flags=SPIKE, partial_ok=True, as_of=77), version=1)
    assert result.receipt.archived is None
    assert setting.store.reports(SERIES) == []


def test_a_warning_raises_with_its_report_and_is_archived_all_the_same(setting: Setting) -> None:
    with pytest.raises(qmtl.ConformancePipelineError) as caught:
        setting.answer(ended(flags=SPIKE), version=1)
    assert [finding.rule for finding in caught.value.report.findings] == [PRICE_SPIKE]
    assert len(setting.store.reports(SERIES)) == 1
    counted = {"strategy": "SEAMLESS", "outcome": "ConformancePipelineError"}
    assert setting.count("seamless_fetch_total", **counted) == 1


def test_the_first_error_carries_the_others(setting: Setting) -> None:
    failure = qmtl.SourceUnavailableError("the vendor is down", source="vendor")
    hole = Coverage.of(Span(2 * HOUR, 3 * HOUR))
    with pytest.raises(qmtl.SourceUnavailableError) as caught:
        setting.answer(ended(flags=SPIKE, finish=Finish(None, failure, hole, EMPTY)), version=1)
    assert [type(other) for other in caught.value.others] == [qmtl.ConformancePipelineError]


def test_a_partial_answer_lists_what_would_have_raised(setting: Setting) -> None:
    result = setting.answer(ended(flags=SPIKE, partial_ok=True), version=1)
    assert len(result.receipt.violations) == 1
    assert PRICE_SPIKE in result.receipt.violations[0]


def test_what_healed_is_what_is_suspicious_no_more(setting: Setting) -> None:
    again = Coverage.of(Span(0, 2 * HOUR))
    end = ended(asked_again=again, backfill=BackfillResult("vendor"))
    heal = setting.answer(end._replace(state=end.state._replace(still_suspect=Coverage.of(Span(0, HOUR)))), 1)
    assert heal.report.heal is not None
    assert heal.report.heal.left == Coverage.of(Span(0, HOUR))


def test_rows_from_the_store_are_counted_against_the_schema_and_cached_ones_are_not(setting: Setting) -> None:
    end = ended(backfill=BackfillResult("vendor", added=4), changed_data=True)
    setting.answer(end, version=1)
    cached = ended()
    setting.answer(cached._replace(state=cached.state._replace(answered_by=Tier.CACHE)), version=1)
    setting.schemas.flush()
    assert [(one.checked, one.failed) for one in setting.store.observed("ohlcv", 0)] == [(4, 0)]


def test_flat_bars_continue_the_close_before_the_range_and_the_fingerprint_is_of_what_is_given(
    setting: Setting,
) -> None:
    ahead = bars(np.array([-HOUR]), {name: [9.0] for name in ("open", "high", "low", "close", "volume")})
    setting.store.commit(SERIES, Write("x", 1, ahead, answered=Coverage.of(Span(-HOUR, 0))))
    empty_start = FRAME.slice(1)
    end = ended(fill="flat")
    evaluated = EvaluatedRange(
        SERIES,
        GRID,
        SeriesFacts(),
        empty_start,
        bar_states(SPAN, GRID, stamps(empty_start), Coverage.of(SPAN), EMPTY),
        EMPTY_FLAGS,
        end.evaluated.check,
        answers=end.evaluated.answers,
        tx=1,
        as_of=0,
        valid_until=None,
    )
    result = setting.answer(end._replace(evaluated=evaluated), version=1)
    assert result.frame["close"].to_list() == [9.0, 2.0, 2.0, 3.0, 4.0]
    assert result.frame["filled"].to_list() == [True, False, True, False, False]
    assert result.receipt.fingerprint == fingerprint(result.frame) != fingerprint(empty_start)
