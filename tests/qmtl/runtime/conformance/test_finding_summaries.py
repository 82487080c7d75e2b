"""Summaries say what the findings of the whole report say."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.frames import bars
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import bar_states
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import HOUR
from qmtl.runtime.conformance.acceptance import accept, unaccepted
from qmtl.runtime.conformance.finding_summaries import summaries, summaries_of_flags
from qmtl.runtime.conformance.findings import Finding, damage_findings, row_finding
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.rules import LEVEL_SHIFT, MISSING_VOLUME, PRICE_JUMP, PRICE_SPIKE, SILENCE

SERIES = SeriesId.parse("ohlcv:test:A/B:1h")
GRID = Grid(SERIES.timeframe)
HOURS = 12
SPAN = Span(0, HOURS * HOUR)
WARNINGS = (PRICE_SPIKE, PRICE_JUMP)
PLACES = st.sets(st.integers(0, HOURS - 1))


def cells(places: set[int]) -> Coverage:
    return Coverage((place * HOUR, (place + 1) * HOUR) for place in places)


@given(
    traded=PLACES,
    null_volume=PLACES,
    flagged=st.fixed_dictionaries(dict.fromkeys((*WARNINGS, LEVEL_SHIFT, MISSING_VOLUME), PLACES)),
    silent=PLACES,
    answered=PLACES,
    accepted=PLACES,
    damaged=PLACES,
)
def test_they_are_the_findings_of_the_report_without_their_rows(
    traded: set[int],
    null_volume: set[int],
    flagged: dict[str, set[int]],
    silent: set[int],
    answered: set[int],
    accepted: set[int],
    damaged: set[int],
) -> None:
    ts = np.array(sorted(traded), dtype=np.int64) * HOUR
    frame = bars(ts, {name: np.ones(len(ts)) for name in ("open", "high", "low", "close", "volume")})
    is_null = pl.Series(np.isin(ts, [place * HOUR for place in null_volume]))
    frame = frame.with_columns(volume=pl.when(is_null).then(None).otherwise(pl.col("volume")))
    states = bar_states(SPAN, GRID, ts, cells(answered | traded), EMPTY)
    flags = Flags.of(
        {rule: ts[np.isin(ts, [place * HOUR for place in at])] for rule, at in flagged.items()},
        {SILENCE: cells(silent)},
    )
    agreed = [
        one
        for rule in (*WARNINGS, SILENCE)
        for one in accept(flags, frame, rule, step=HOUR)
        if one.start // HOUR in accepted
    ]
    beside: list[Finding] = damage_findings(cells(damaged), GRID, SPAN)
    if frame.height:
        beside.append(row_finding(PRICE_SPIKE, frame.head(1), total=frame.height))
    report = ConformancePipeline().report(
        series=SERIES,
        frame=frame,
        states=states,
        flags=flags,
        fingerprint="",
        as_of=None,
        accepted=agreed,
        findings=beside,
    )
    raising = unaccepted(flags, agreed, frame) if agreed else flags
    names = ("rule", "severity", "count", "first_ts", "last_ts", "accepted", "raises")
    of_flags = summaries_of_flags(flags, raising, lambda: states)
    found = summaries(frame, flags, of_flags, beside)
    assert [[getattr(one, name) for name in names] for one in found] == [
        [getattr(one, name) for name in names] for one in report.findings
    ]
    alone = ConformancePipeline().report(
        series=SERIES, frame=frame, states=states, flags=flags, fingerprint="", as_of=None, accepted=agreed
    )
    assert any(one.raises for one in of_flags) != alone.passes
