"""Reports: what they tell, their way through JSON, and what has changed since the last one."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId, Timeframe
from qmtl.foundation.states import bar_states
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.conformance.digest import digest, has_new_findings
from qmtl.runtime.conformance.findings import merge_findings, replaced_findings, row_finding
from qmtl.runtime.conformance.flags import EMPTY_FLAGS, Flags
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.report import ConformanceReport, Heal
from qmtl.runtime.conformance.rules import RULESET
from qmtl.runtime.conformance.screen import screen
from qmtl.runtime.testing.bars import synthetic_bars

PIPELINE = ConformancePipeline()
GRID = Grid(Timeframe.parse("1m"))
SERIES = SeriesId.parse("ohlcv:test:A/B:1m")
A_DAY = Span(0, 1440 * MINUTE)
SPIKE, SILENCE, SHIFT = "quality.price_spike", "temporal.silence", "quality.level_shift"


def spiky(*places: int) -> pl.DataFrame:
    """A day of minutes with spikes, and an outage from 800 to 900."""
    frame = synthetic_bars(SERIES, Span(0, 1440 * MINUTE))
    number = pl.int_range(pl.len())
    spike = pl.when(number.is_in(list(places))).then(pl.col("low") / 2).otherwise("low")
    return frame.with_columns(spike.alias("low")).filter(~number.is_between(800, 899))


def report_of(frame: pl.DataFrame, span: Span = A_DAY, **more: object) -> ConformanceReport:
    flags = PIPELINE.flag(frame, grid=GRID, facts=SeriesFacts()).clip(span)
    inside = frame.filter(pl.Series(Coverage.of(span).holds(stamps(frame))))
    return PIPELINE.report(
        series=SERIES,
        frame=inside,
        states=bar_states(span, GRID, stamps(inside), Coverage.of(span), EMPTY),
        flags=flags,
        fingerprint="0123",
        as_of=1_700_000_000_000_000_001,
        **more,  # type: ignore[arg-type]  # passed on as they are
    )


def test_a_report_says_how_often_where_and_what_it_looked_like() -> None:
    report = report_of(spiky(100, 200, 1300))
    silence, spike = report.findings
    assert (silence.rule, silence.severity, silence.count) == (SILENCE, "warning", 100)
    assert silence.fraction == pytest.approx(100 / 1440)
    assert (silence.first_ts, silence.last_ts) == (800 * MINUTE, 899 * MINUTE)
    assert silence.sample["start"].to_physical().to_list() == [800 * MINUTE]
    assert (spike.rule, spike.count, spike.first_ts, spike.last_ts) == (SPIKE, 3, 100 * MINUTE, 1300 * MINUTE)
    assert spike.fraction == pytest.approx(3 / 1340)
    assert stamps(spike.sample).tolist() == [100 * MINUTE, 200 * MINUTE, 1300 * MINUTE]
    assert (report.errors, report.warnings, report.passes) == (0, 103, False)
    assert report.ruleset == RULESET
    assert report.address == SERIES.address
    assert report.rollup.quality.flags == {SPIKE: 3, SILENCE: 100}


def test_silence_counts_only_where_the_source_had_answered() -> None:
    frame = spiky()
    span = Span(0, 1440 * MINUTE)
    flags = PIPELINE.flag(frame, grid=GRID, facts=SeriesFacts())
    unknown = bar_states(span, GRID, stamps(frame), EMPTY, EMPTY)
    report = PIPELINE.report(
        series=SERIES, frame=frame, states=unknown, flags=flags, fingerprint="", as_of=None
    )
    assert report.passes
    assert report.findings == ()


def test_a_report_survives_json() -> None:
    frame = spiky(5)
    page = pl.concat([frame[10:12], frame[11:13].with_columns(volume=float("nan"))])
    refused = screen(page, grid=GRID, facts=SeriesFacts(), within=Span(0, 1440 * MINUTE), now=None)
    replaced = frame[3:4].select("ts", pl.col("close").alias("old_close"), pl.col("open").alias("new_close"))
    asked = Coverage.of(Span(0, 20 * MINUTE))
    report = report_of(
        frame,
        heal=Heal(asked, Coverage.of(Span(0, 5 * MINUTE))),
        findings=[*refused.findings, *replaced_findings(replaced, total=frame.height)],
    )
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    again = ConformanceReport.from_json(document)
    assert again.to_json() == document
    for old, new in zip(report.findings, again.findings, strict=True):
        assert new.sample.equals(old.sample, null_equal=True)
    assert again.rollup == report.rollup
    assert again.heal is not None
    assert again.heal.left == Coverage.of(Span(5 * MINUTE, 20 * MINUTE))
    assert document["as_of"] == "2023-11-14T22:13:20.000000001Z"
    assert {f["rule"] for f in document["findings"]} >= {"quality.replaced", SPIKE, SILENCE}


def test_a_report_can_be_looked_at() -> None:
    frame = spiky(100)
    first = report_of(frame)
    report = report_of(frame, previous=first.to_json())
    assert "0 errors, 101 warnings" in repr(report)
    assert "quality.price_spike: 1 (0.07%) at 1970-01-01T01:40:00Z [unchanged]" in repr(report)
    page = report._repr_html_()
    assert page.count("<tr>") == 3
    assert "an outage, most likely" in page
    calm = synthetic_bars(SERIES, Span(0, 1440 * MINUTE))
    assert "passes" in repr(report_of(calm))


def test_what_could_not_be_checked_is_reported() -> None:
    frame = synthetic_bars(SERIES, Span(0, 50 * MINUTE))
    report = report_of(frame.filter(~pl.int_range(pl.len()).is_between(20, 39)), Span(0, 50 * MINUTE))
    (unchecked,) = report.could_not_check
    assert (unchecked.rule, unchecked.bars) == (SILENCE, 20)
    assert report.passes
    assert "could not check temporal.silence: 20 bars" in repr(report)
    assert ConformanceReport.from_json(report.to_json()).could_not_check == report.could_not_check


def test_a_source_without_volumes_is_reported_once() -> None:
    frame = synthetic_bars(SERIES, Span(0, 1440 * MINUTE)).with_columns(volume=pl.lit(None, dtype=pl.Float64))
    flags = PIPELINE.flag(frame, grid=GRID, facts=SeriesFacts(has_volume=False))
    assert flags is EMPTY_FLAGS
    span = Span(0, 1440 * MINUTE)
    report = PIPELINE.report(
        series=SERIES,
        frame=frame,
        states=bar_states(span, GRID, stamps(frame), EMPTY, EMPTY),
        flags=flags,
        fingerprint="",
        as_of=None,
    )
    (finding,) = report.findings
    assert (finding.rule, finding.severity, finding.count) == ("quality.no_volume", "info", 1440)
    assert report.passes


# -- digest ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "trend"),
    [(0, 2, "new"), (2, 3, "worsened"), (3, 2, "improved"), (3, 0, "resolved"), (2, 2, "unchanged")],
)
def test_each_finding_has_a_trend(before: int, after: int, trend: str) -> None:
    first = report_of(spiky(*range(100, 400, 100)[:before]))
    second = report_of(spiky(*range(100, 400, 100)[:after]), previous=first.to_json())
    assert second.digest == {SPIKE: trend, SILENCE: "unchanged"}


def test_without_an_earlier_report_all_is_new() -> None:
    assert report_of(spiky(100)).digest == {SPIKE: "new", SILENCE: "new"}


def test_over_another_span_fractions_are_compared_and_the_unseen_is_left_out() -> None:
    frame = spiky(100, 300, 500, 1300)
    whole = report_of(frame).to_json()
    head = report_of(frame, Span(0, 720 * MINUTE), previous=whole)
    # Three of the four that were reported already; the outage lies outside.
    assert head.digest == {SPIKE: "unchanged"}
    # Four in a day are fewer than three in half a day.
    assert report_of(frame, previous=head.to_json()).digest[SPIKE] == "improved"
    calm = report_of(spiky(), Span(0, 720 * MINUTE), previous=whole)
    assert calm.digest == {}
    assert digest((), Span(0, 2000 * MINUTE), whole) == {SPIKE: "resolved", SILENCE: "resolved"}
    assert digest((), Span(0, 2000 * MINUTE), whole, {SILENCE}) == {SPIKE: "resolved"}
    assert digest((), Span(0, 2000 * MINUTE), whole, {SPIKE.partition(".")[0]}) == {SILENCE: "resolved"}


def test_only_what_an_earlier_report_lacks_is_worth_telling_again() -> None:
    frame = spiky(100, 300)
    earlier = report_of(frame).to_json()
    assert has_new_findings(report_of(frame).findings, None)
    assert not has_new_findings(report_of(frame).findings, earlier)
    assert not has_new_findings(report_of(frame, Span(0, 720 * MINUTE)).findings, earlier)
    assert has_new_findings(report_of(spiky(100, 200, 300)).findings, earlier)
    assert has_new_findings(report_of(spiky(100, 301)).findings, earlier)
    assert not has_new_findings((), None)


def test_findings_of_one_rule_become_one() -> None:
    frame = spiky()
    parts = [row_finding(SPIKE, frame[a : a + 4], total=100) for a in (50, 10)]
    (one,) = merge_findings(parts)
    assert (one.count, one.fraction) == (8, pytest.approx(8 / 200))
    assert (one.first_ts, one.last_ts) == (10 * MINUTE, 53 * MINUTE)
    assert stamps(one.sample).tolist() == [10 * MINUTE, 11 * MINUTE, 12 * MINUTE, 13 * MINUTE, 50 * MINUTE]
    assert replaced_findings(frame[:0], total=5) == []


# -- flags ----------------------------------------------------------------------------------------------


def test_flags_are_cut_like_the_bars_they_name() -> None:
    flags = Flags.of(
        {SPIKE: np.array([30, 10, 20]), SHIFT: np.array([20])}, {SILENCE: Coverage.of(Span(12, 18))}
    )
    assert flags.ts.tolist() == [10, 20, 20, 30]
    assert flags.rules() == (SILENCE, SPIKE, SHIFT)
    cut = flags.clip(Span(15, 30))
    assert cut.stamps(SPIKE).tolist() == [20]
    assert cut.spans[SILENCE] == Coverage.of(Span(15, 18))
    assert flags.clip(Span(31, 40)) is EMPTY_FLAGS
    assert flags.clip(Span(0, 40)) == flags
    assert Flags.joined([flags.clip(Span(0, 20)), EMPTY_FLAGS, flags.clip(Span(20, 40))]) == flags
    assert Flags.of({SPIKE: np.zeros(0, dtype=np.int64)}) is EMPTY_FLAGS
    assert bool(flags)
    assert not EMPTY_FLAGS
    assert repr(flags) == "Flags(temporal.silence in 1 span, quality.price_spike 3, quality.level_shift 1)"
