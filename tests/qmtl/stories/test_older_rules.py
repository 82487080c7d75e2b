"""What was archived and accepted under an earlier rule set can still be read, compared with and relied on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from qmtl.foundation.errors import ConformancePipelineError
from qmtl.foundation.frames import PRICES
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, MINUTE, iso, to_ns
from qmtl.runtime.conformance.acceptance import Accepted, row_fingerprints
from qmtl.runtime.conformance.report import ConformanceReport
from qmtl.runtime.conformance.rules import RULESET
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.bars import synthetic_bars

BOTH_ENGINES = True

SERIES = "ohlcv:test:A/B:1m"
NODE = SeriesId.parse(SERIES)
START = to_ns("2024-01-01")
# Of the rules before jumps and the share of made-up bars were judged by the series itself.
EARLIER = "156ece2ce22688a2"


def archived(rows: int) -> dict[str, Any]:
    """A report as the earlier rules wrote it: the jump was an info, and nothing raised."""
    return {
        "address": "qmtl://observability/seamless/ohlcv%3Atest%3AA%2FB%3A1m",
        "series": SERIES,
        "span": {"start": iso(START), "end": iso(START + DAY)},
        "errors": 0,
        "warnings": 0,
        "findings": [
            {
                "rule": "quality.level_shift",
                "severity": "info",
                "meaning": "the price jumps far, and stays: a split, or news",
                "advice": "adjust for splits before computing returns",
                "count": 1,
                "accepted": 0,
                "fraction": 1 / rows,
                "first_ts": iso(START + 700 * MINUTE),
                "last_ts": iso(START + 700 * MINUTE),
                "sample": [],
            }
        ],
        "could_not_check": [],
        "digest": {"quality.level_shift": "new"},
        "rollup": {
            "schema": {"nulls": {}, "least": {}, "greatest": {}},
            "temporal": {"rows": rows, "first_ts": iso(START), "last_ts": iso(START), "states": {}},
            "quality": {"flags": {"quality.level_shift": 1}},
        },
        "heal": None,
        "fingerprint": "blake3:00",
        "as_of": iso(START + DAY),
        "ruleset": EARLIER,
        "schema_id": "ohlcv.bar/1",
    }


@pytest.fixture
def provider(make: Callable[..., SeamlessDataProvider]) -> SeamlessDataProvider:
    """A split by two at minute 700, and 50 made-up bars from minute 1,000 on."""
    frame = synthetic_bars(SERIES, Span(START, START + DAY))
    row = pl.int_range(pl.len())
    price = frame["close"][999]
    frame = frame.with_columns(
        pl.when(row.is_between(1_000, 1_049)).then(pl.lit(price)).otherwise(name).alias(name)
        for name in PRICES
    ).with_columns(
        *(pl.when(row >= 700).then(pl.col(name) / 2).otherwise(name).alias(name) for name in PRICES),
        pl.when(row.is_between(1_000, 1_049)).then(0.0).otherwise("volume").alias("volume"),
    )
    made = make()
    span = Coverage.of(Span(START, START + DAY))
    made.store.commit(NODE, Write("test", START, frame=frame, answered=span))
    made.store.archive_report(NODE, archived(frame.height))
    padded = frame[1_000:1_050]
    stamps = padded["ts"].to_physical().to_list()
    made.store.accept(
        NODE,
        [
            Accepted("quality.zero_volume_padding", ts, ts + MINUTE, mark)
            for ts, mark in zip(stamps, row_fingerprints(padded), strict=True)
        ],
    )
    return made


def test_reports_of_earlier_rules_are_read_and_compared_with(provider: SeamlessDataProvider) -> None:
    assert EARLIER != RULESET
    (entry,) = provider.store.reports(NODE)
    earlier = ConformanceReport.from_json(entry["report"])
    assert (earlier.ruleset, earlier.passes, earlier.findings[0].severity) == (EARLIER, True, "info")
    assert "quality.level_shift" in repr(earlier)
    assert ConformanceReport.from_json(earlier.to_json()).to_json() == earlier.to_json()
    report = provider.fetch(SERIES, "2024-01-01", "2024-01-02", partial_ok=True).report
    assert report.ruleset == RULESET
    assert report.digest == {
        "quality.price_jump": "new",
        "quality.zero_volume_padding": "new",
        "quality.level_shift": "resolved",
    }
    # What the earlier report lacks is archived beside it; the earlier one stays as it is.
    assert [each["report"]["ruleset"] for each in provider.store.reports(NODE)] == [RULESET, EARLIER]


def test_what_was_accepted_under_earlier_rules_stays_accepted(provider: SeamlessDataProvider) -> None:
    with pytest.raises(ConformancePipelineError) as caught:
        provider.fetch(SERIES, "2024-01-01", "2024-01-02")
    raised = {finding.rule: finding.raises for finding in caught.value.report.findings}
    assert raised == {"quality.price_jump": 1, "quality.zero_volume_padding": 0}
    assert provider.fetch(SERIES, "2024-01-01T12:00Z", "2024-01-02").report.passes
    accepted = provider.accept(SERIES, "2024-01-01", "2024-01-02")
    assert accepted == {"quality.price_jump": (1, 1), "quality.zero_volume_padding": (50, 0)}
    result = provider.fetch(SERIES, "2024-01-01", "2024-01-02")
    assert result.frame.height == 1_440, "accepted or not, every bar is served"
