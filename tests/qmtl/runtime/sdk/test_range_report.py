"""The report on a stored range is compared with the newest good one, and knows what was accepted."""

from __future__ import annotations

import polars as pl
import pytest

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.fingerprint import fingerprint
from qmtl.foundation.grid import Grid
from qmtl.foundation.schema.governance.decisions import ValidationMode
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import HOUR, MINUTE, to_ns
from qmtl.runtime.conformance.acceptance import accept
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.io.evaluate import evaluate
from qmtl.runtime.io.evaluated_range import EvaluatedRange
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.range_report import report_on
from qmtl.runtime.sdk.schema_enforcer import SchemaBinding, own
from qmtl.runtime.testing.bars import synthetic_bars

SERIES = SeriesId.parse("ohlcv:test:BTC/USDT:1m")
GRID, PIPELINE = Grid(SERIES.timeframe), ConformancePipeline()
START = to_ns("2024-01-01")
SPAN = Span(START, START + 4 * HOUR)
BINDING = SchemaBinding(own("ohlcv"), "ohlcv", ValidationMode.CANARY)
SPIKE = "quality.price_spike"


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    low = pl.when(pl.int_range(240) == 100).then(pl.col("low") / 20).otherwise("low")
    bars = synthetic_bars(SERIES, SPAN).with_columns(low=low)
    store.commit(SERIES, Write("v", START, bars, Coverage.of(SPAN)))
    return store


def evaluated(store: MemoryStore) -> EvaluatedRange:
    return evaluate(
        store, PIPELINE, SERIES, SPAN, grid=GRID, facts=SeriesFacts(), schema=BINDING.schema, now=START
    )


def test_a_report_is_bound_to_rows_commit_and_schema(store: MemoryStore) -> None:
    found = evaluated(store)
    report = report_on(found, PIPELINE, store, BINDING)
    assert [(one.rule, one.count, one.first_ts) for one in report.findings] == [
        (SPIKE, 1, START + 100 * MINUTE)
    ]
    written = report.to_json()
    assert fingerprint(found.frame) in str(written)
    assert BINDING.name in str(written)
    assert report.warnings == 1
    assert store.newest_report(SERIES) is None, "it is not archived yet"


def test_what_was_accepted_raises_nothing(store: MemoryStore) -> None:
    found = evaluated(store)
    store.accept(SERIES, accept(found.flags, found.frame, SPIKE, step=GRID.step))
    report = report_on(found, PIPELINE, store, BINDING)
    assert report.warnings == 0
    store.archive_report(SERIES, report.to_json())
    assert store.baseline_report(SERIES) == report.to_json(), "and is the measure of later ones"


def test_a_schema_that_could_not_be_asked_is_named(store: MemoryStore) -> None:
    unchecked = SchemaBinding(None, "ohlcv", ValidationMode.CANARY, "the registry cannot be reached")
    report = report_on(evaluated(store), PIPELINE, store, unchecked)
    assert "the registry cannot be reached" in str(report.to_json())
