"""Sources that write a row without a price for each quiet bar: it is an answer, and asked for once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.errors import MissingDataError
from qmtl.foundation.frames import VALUES
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import HOUR, MINUTE, to_ns
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.sdk.importing import import_file
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing import ScriptedVendor, synthetic_bars

SERIES = SeriesId.parse("ohlcv:test:XBT/USD:1m")
DAY = Span(to_ns("2024-01-01"), to_ns("2024-01-02"))
Make = Callable[..., SeamlessDataProvider]


def is_quiet() -> pl.Expr:
    return (pl.int_range(pl.len()) % 7).is_in([1, 2, 4, 5])


def with_empty_rows(frame: pl.DataFrame, value: float | None) -> pl.DataFrame:
    """Four of seven minutes were quiet, as BitMEX and Kaggle's Bitstamp file write it."""
    quiet = is_quiet()
    return frame.with_columns(
        pl.when(quiet).then(pl.lit(value, pl.Float64)).otherwise(name).alias(name) for name in VALUES
    )


@pytest.mark.parametrize("value", [None, float("nan")])
def test_quiet_minutes_of_an_exchange_are_answered_once(make: Make, value: float | None) -> None:
    bars = synthetic_bars(SERIES, DAY)
    vendor = ScriptedVendor(frames={SERIES.text: with_empty_rows(bars, value)})
    provider = make(vendor)
    first = provider.fetch(SERIES, *DAY)
    assert first.coverage.counts == {
        "present": 617,
        "no_trade": 823,
        "closed": 0,
        "absent": 0,
        "unknown": 0,
    }
    assert_frame_equal(first.frame, bars.filter(~is_quiet()))
    (finding,) = first.report.findings
    assert (finding.rule, finding.severity, finding.count) == ("temporal.empty_row", "info", 823)
    provider.fetch(SERIES, *DAY)
    assert [call.span for call in vendor.calls] == [DAY], "nothing is left to ask for"


def test_a_quiet_minute_of_a_moment_ago_is_not_settled_yet(make: Make) -> None:
    """The clock stands at 00:00:30; the minute before has closed 30 seconds ago, and may still come."""
    span = Span(to_ns("2024-01-31T23:50:00Z"), to_ns("2024-02-01"))
    rows = with_empty_rows(synthetic_bars(SERIES, span), None)
    with pytest.raises(MissingDataError) as missing:
        make(ScriptedVendor(frames={SERIES.text: rows})).fetch(SERIES, *span)
    assert missing.value.holes["unknown"].hull == Span(span.end - MINUTE, span.end)


@pytest.mark.parametrize(("holes", "unknown"), [("unknown", 30), ("no_trade", 0)])
def test_empty_rows_of_a_file_are_answers_and_lines_that_are_not_there_are_not(
    tmp_path: Path, holes: str, unknown: int
) -> None:
    span = Span(DAY.start, DAY.start + 2 * HOUR)
    rows = with_empty_rows(synthetic_bars(SERIES, span), float("nan"))
    rows = rows.filter(~pl.int_range(pl.len()).is_between(60, 89))
    path = tmp_path / "bitstamp.csv"
    rows.with_columns(pl.col("ts").to_physical() // 10**9).write_csv(path)
    with EmbeddedStore(tmp_path / "store") as store:
        result = import_file(store, path, SERIES, unit="s", holes=holes)  # type: ignore[arg-type]  # one of two
    assert (result.rows, result.added, result.quarantined) == (90, 40, 0)
    assert result.counts["unknown"] == unknown
    assert result.counts["no_trade"] == 50 + (30 - unknown)
    assert [(one.rule, one.count) for one in result.findings] == [("temporal.empty_row", 50)]
