"""What was accepted no longer raises, until its bars change; errors cannot be accepted."""

from __future__ import annotations

import struct

import polars as pl
import pytest
from blake3 import blake3

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import VALUES, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId, Timeframe
from qmtl.foundation.states import BarStates, bar_states
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.conformance.acceptance import Accepted, accept, row_fingerprints, unaccepted
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.testing.bars import synthetic_bars
from tests.qmtl.runtime.conformance.counting import Raising, raising

PIPELINE = ConformancePipeline()
GRID = Grid(Timeframe.parse("1m"))
SERIES = SeriesId.parse("ohlcv:test:A/B:1m")
SPIKE, SILENCE = "quality.price_spike", "temporal.silence"


def at(frame: pl.DataFrame, minute: int, **factors: float) -> pl.DataFrame:
    here = pl.col("ts").to_physical() == minute * MINUTE
    return frame.with_columns(
        pl.when(here).then(pl.col(name) * factor).otherwise(name).alias(name)
        for name, factor in factors.items()
    )


@pytest.fixture
def frame() -> pl.DataFrame:
    """Two spikes, at minutes 100 and 700, and an outage from 300 to 400."""
    bars = synthetic_bars(SERIES, Span(0, 1000 * MINUTE))
    bars = at(at(bars, 100, low=0.5), 700, high=2.0)
    return bars.filter(~(pl.col("ts").to_physical() // MINUTE).is_between(300, 399))


def flagged(frame: pl.DataFrame) -> Flags:
    return PIPELINE.flag(frame, grid=GRID, facts=SeriesFacts())


def states(frame: pl.DataFrame) -> BarStates:
    span = Span(0, 1000 * MINUTE)
    return bar_states(span, GRID, stamps(frame), Coverage.of(span), EMPTY)


def left(frame: pl.DataFrame, accepted: list[Accepted]) -> Raising:
    """What raises although these were accepted."""
    return raising(frame, flagged(frame), states(frame), accepted)


def test_bars_and_spans_are_accepted_one_rule_at_a_time(frame: pl.DataFrame) -> None:
    flags = flagged(frame)
    assert left(frame, []) == (0, 102)
    spikes = accept(flags, frame, SPIKE, step=MINUTE)
    assert [(a.rule, a.start, a.end) for a in spikes] == [
        (SPIKE, 100 * MINUTE, 101 * MINUTE),
        (SPIKE, 700 * MINUTE, 701 * MINUTE),
    ]
    assert left(frame, spikes) == (0, 100)
    silence = accept(flags, frame, SILENCE, step=MINUTE)
    assert silence == [Accepted(SILENCE, 300 * MINUTE, 400 * MINUTE, "")]
    assert left(frame, silence) == (0, 2)
    assert left(frame, spikes + silence) == (0, 0)
    assert left(frame, spikes[:1] + silence) == (0, 1)


def test_a_changed_bar_raises_again(frame: pl.DataFrame) -> None:
    accepted = [a for rule in (SPIKE, SILENCE) for a in accept(flagged(frame), frame, rule, step=MINUTE)]
    assert left(at(frame, 100, volume=1.5), accepted) == (0, 1)
    # Its neighbours may change; the acceptance is of this bar.
    assert left(at(frame, 101, volume=1.5), accepted) == (0, 0)
    # A longer outage is accepted only as far as it was.
    longer = frame.filter(~(pl.col("ts").to_physical() // MINUTE).is_between(400, 409))
    assert left(longer, accepted) == (0, 10)
    # A new spike is nobody's.
    assert left(at(frame, 500, high=3.0), accepted) == (0, 1)


def test_errors_and_infos_cannot_be_accepted(frame: pl.DataFrame) -> None:
    bad = at(frame, 600, volume=-1.0)
    flags = flagged(bad)
    with pytest.raises(ValueError, match="only warnings"):
        accept(flags, bad, "quality.negative_volume", step=MINUTE)
    (row,) = row_fingerprints(bad.filter(pl.col("ts").to_physical() == 600 * MINUTE))
    forged = [Accepted("quality.negative_volume", 600 * MINUTE, 601 * MINUTE, row)]
    assert left(bad, forged).errors == 1
    assert unaccepted(flags, forged, bad) == flags


def test_the_report_shows_what_was_accepted(frame: pl.DataFrame) -> None:
    flags = flagged(frame)
    accepted = accept(flags, frame, SPIKE, step=MINUTE)[:1] + accept(flags, frame, SILENCE, step=MINUTE)
    report = PIPELINE.report(
        series=SERIES,
        frame=frame,
        states=states(frame),
        flags=flags,
        fingerprint="f",
        as_of=1,
        accepted=accepted,
    )
    assert {f.rule: (f.count, f.accepted) for f in report.findings} == {SILENCE: (100, 100), SPIKE: (2, 1)}
    assert (report.errors, report.warnings) == (0, 1)


def test_a_fingerprint_is_of_the_values_and_the_place() -> None:
    frame = synthetic_bars(SERIES, Span(0, 3 * MINUTE))
    prints = row_fingerprints(frame)
    assert len(set(prints)) == 3
    assert all(len(text) == 16 and int(text, 16) >= 0 for text in prints)
    assert row_fingerprints(frame[1:]) == prints[1:]
    for name in VALUES:
        assert row_fingerprints(frame.with_columns(pl.col(name) + 0.01))[0] != prints[0]
    zeros = [frame.with_columns(volume=pl.lit(zero)) for zero in (0.0, -0.0)]
    assert row_fingerprints(zeros[0]) == row_fingerprints(zeros[1])
    nothing = [frame.with_columns(volume=pl.lit(v, dtype=pl.Float64)) for v in (None, float("nan"), 0.0)]
    assert len({row_fingerprints(each)[0] for each in nothing}) == 3
    assert row_fingerprints(frame[:0]) == []


def test_a_fingerprint_stays_what_it_was() -> None:
    frame = synthetic_bars(SERIES, Span(0, MINUTE)).with_columns(pl.lit(1.5).alias(name) for name in VALUES)
    assert row_fingerprints(frame) == [blake3(struct.pack("<q5d", 0, *[1.5] * 5)).hexdigest()[:16]]
