"""Stores with a little of everything, for snapshots with several segments, answers and reports."""

from __future__ import annotations

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.fingerprint import fingerprint
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE, to_ns
from qmtl.runtime.conformance.acceptance import Accepted
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.io.evaluate import evaluate
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.bars import synthetic_bars

SECONDS = SeriesId.parse("ohlcv:mine:BTC/USDT:1s")
DAILY = SeriesId.parse("ohlcv:mine:AAPL:1d")
START = to_ns("2024-01-01")


def seconds(day: int, count: int = 50) -> Span:
    """Some seconds of a day; days four or more apart lie in segments of their own."""
    return Span(START + day * DAY, START + day * DAY + count * 1_000_000_000)


def add_seconds(store: Store, day: int, count: int = 50, *, shift: float = 0.0) -> None:
    """Bars of every other second, answered for whole."""
    span = seconds(day, count)
    frame = synthetic_bars(SECONDS, span).gather_every(2)
    if shift:
        frame = frame.with_columns(frame.select("open", "high", "low", "close") + shift)
    store.commit(SECONDS, Write("venue", span.end + MINUTE, frame, answered=Coverage.of(span)))


def fill(store: Store) -> None:
    """Two series: one in three segments with absences and refusals, one that is declared and reported on."""
    for day in (0, 10, 20):
        add_seconds(store, day)
    gap = Span(START + 5 * DAY, START + 6 * DAY)
    store.commit(
        SECONDS,
        Write(
            "venue", gap.end, answered=Coverage.of(gap), absent=Coverage.of(gap), absent_until=gap.end + HOUR
        ),
    )
    refused = Coverage.of(Span(START + 30 * DAY, START + 30 * DAY + HOUR))
    store.commit(
        SECONDS,
        Write("other", START + 40 * DAY, retracted=refused, refused=refused, refused_until=START + 50 * DAY),
    )
    span = Span(START, START + 60 * DAY)
    frame = synthetic_bars(DAILY, span)
    facts = SeriesFacts(calendar="24x7", has_volume=False)
    no_volume = frame.with_columns(volume=None).cast(frame.schema)
    store.commit(DAILY, Write("files:daily.csv", span.end, no_volume, Coverage.of(span), declared=facts))
    report(store, DAILY, span, facts)
    store.accept(DAILY, [Accepted("quality.price_spike", START, START + DAY, "0123456789abcdef")])


def report(store: Store, series: SeriesId, span: Span, facts: SeriesFacts) -> None:
    """Archive a report on what a store holds."""
    pipeline, grid = ConformancePipeline(), Grid(series.timeframe)
    found = evaluate(
        store,
        pipeline,
        series,
        span,
        grid=grid,
        facts=facts,
        schema=None,
        now=span.end + DAY,
        as_of=store.newest().as_of,
    )
    made = pipeline.report(
        series=series,
        frame=found.frame,
        states=found.states,
        flags=found.flags,
        fingerprint=fingerprint(found.frame),
        as_of=store.newest().as_of,
        schema_id="bars/1",
    )
    store.archive_report(series, made.to_json())
