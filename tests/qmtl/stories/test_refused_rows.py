"""Rows that the store cannot hold are failed observations, wherever they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prometheus_client import CollectorRegistry

import qmtl
from qmtl.foundation.schema.builtin import BUILTIN
from qmtl.foundation.schema.documents import Schema, SchemaType
from qmtl.foundation.schema.registry.client import SchemaRegistryClient
from qmtl.foundation.times import DAY, HOUR, to_ns
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.sdk.importing import import_file
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import Change, Deliver, ScriptedFeed, ScriptedVendor

SERIES = "ohlcv:test:BTC/USDT:1h"
START = to_ns("2024-01-01")
FAILURES = "seamless_schema_validation_failures_total"

Fetch = Callable[..., None]


def impossible(frame: pl.DataFrame, rows: int) -> pl.DataFrame:
    """The first rows with a high below the low."""
    return frame.with_columns(
        high=pl.when(pl.int_range(pl.len()) < rows).then(pl.col("low") / 2).otherwise(pl.col("high"))
    )


def changed(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Change:
    return Change(lambda page: qmtl.Page(change(page.frame), page.answered, page.absent))


def without_ts(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(ts=pl.when(pl.int_range(pl.len()) < 2).then(None).otherwise(pl.col("ts")))


@pytest.fixture(params=["in a registry", "beside the bars"])
def registry(request: pytest.FixtureRequest) -> Iterator[SchemaRegistryClient | None]:
    if request.param == "beside the bars":
        yield None
        return
    made = SchemaRegistryClient()
    made.register("ohlcv", Schema((BUILTIN / "ohlcv.json").read_text(), SchemaType.JSON))
    yield made


def observed(registry: SchemaRegistryClient | None, folder: Path) -> list[tuple[int, int]]:
    if registry is not None:
        found = registry.records().observed("ohlcv", 0)
    else:
        with EmbeddedStore(folder, clock=FakeClock("2024-02-01")) as store:
            found = store.observed("ohlcv", 0)
    return [(one.checked, one.failed) for one in found]


@pytest.mark.parametrize(
    ("change", "checked", "failed"),
    [
        (lambda frame: frame, 24, 0),
        # A page whose columns cannot be stored is refused as a whole.
        (lambda frame: frame.with_columns(pl.col("close").cast(pl.String)), 24, 24),
        (lambda frame: frame.drop("volume"), 24, 24),
        (without_ts, 2, 2),
        # Impossible rows are kept aside; the others are stored and read.
        (lambda frame: impossible(frame, 3), 24, 3),
        (lambda frame: impossible(frame, 24), 24, 24),
    ],
    ids=[
        "none",
        "a column of text",
        "a column less",
        "rows without a ts",
        "some impossible",
        "all impossible",
    ],
)
@pytest.mark.parametrize("how", ["fetch", "backfill"])
def test_what_a_vendor_sends(
    registry: SchemaRegistryClient | None, tmp_path: Path, how: str, change: Any, checked: int, failed: int
) -> None:
    counted = CollectorRegistry()
    with qmtl.SeamlessDataProvider(
        tmp_path / "bars",
        vendors=ScriptedVendor(faults={0: changed(change)}),
        schemas=registry,
        clock=FakeClock("2024-02-01"),
        metrics_registry=counted,
    ) as provider:
        try:
            if how == "fetch":
                provider.fetch(SERIES, START, START + DAY, partial_ok=True)
            else:
                provider.backfill(SERIES, START, START + DAY)
                checked = failed  # nothing was read
        except qmtl.SourceUnavailableError:
            assert failed in (2, 24)
    assert observed(registry, tmp_path / "bars") == ([(checked, failed)] if checked else [])
    reported = counted.get_sample_value(FAILURES, {"subject": "ohlcv", "mode": "canary"})
    assert (reported or 0) == failed


@pytest.mark.parametrize(
    ("change", "checked", "failed"),
    [
        (lambda frame: frame, 4, 0),
        (lambda frame: frame.with_columns(pl.col("close").cast(pl.String)), 4, 4),
        (lambda frame: frame.drop("volume"), 4, 4),
        (lambda frame: impossible(frame, 3), 4, 3),
    ],
    ids=["none", "a column of text", "a column less", "some impossible"],
)
def test_what_a_live_feed_tells(
    registry: SchemaRegistryClient | None, tmp_path: Path, change: Any, checked: int, failed: int
) -> None:
    """The last four hours come from the feed alone; what could be stored of them is read as well."""
    now = to_ns("2024-02-01")
    span = qmtl.Span(now - 4 * HOUR, now)
    counted = CollectorRegistry()
    with qmtl.SeamlessDataProvider(
        tmp_path / "bars",
        vendors={},
        live=ScriptedFeed([Deliver(0.0, change(synthetic_bars(SERIES, span)))]),
        schemas=registry,
        clock=FakeClock("2024-02-01T00:00:30Z"),
        metrics_registry=counted,
    ) as provider:
        result = provider.fetch(SERIES, *span, partial_ok=True)
        assert result.frame.height == checked - failed
        assert result.receipt.archived == (True if checked > failed else None)
    assert observed(registry, tmp_path / "bars") == [(checked, failed)]
    failures = counted.get_sample_value(FAILURES, {"subject": "ohlcv", "mode": "canary"})
    assert (failures or 0) == failed


def test_what_is_imported(registry: SchemaRegistryClient | None, tmp_path: Path) -> None:
    """Kept aside is failed; a file that is refused as a whole changes nothing, counts neither."""
    bars = impossible(synthetic_bars(SERIES, qmtl.Span(START, START + 5 * HOUR)), 2)
    bars.write_parquet(tmp_path / "bars.parquet")
    with qmtl.SeamlessDataProvider(
        tmp_path / "bars", vendors={}, schemas=registry, clock=FakeClock("2024-02-01")
    ) as provider:
        schemas = provider.import_parts.schemas  # as the command line hands it on
        for partial_ok in (False, True):
            try:
                import_file(
                    provider.store,
                    tmp_path / "bars.parquet",
                    SERIES,
                    partial_ok=partial_ok,
                    clock=FakeClock("2024-02-01"),
                    schemas=schemas,
                )
            except qmtl.ConformancePipelineError:
                assert not partial_ok
    assert observed(registry, tmp_path / "bars") == [(5, 2)]
