"""What the provider of desks with QuestDB promises, on a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import qmtl
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import to_ns
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.stores import questdb_store
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import Change, ScriptedVendor, high_below_low
from tests.qmtl.questdb import PASSWORD

NAME = "ohlcv:mine:BTC/USDT:1m"
SERIES = SeriesId.parse(NAME)
SPAN = Span(to_ns("2024-01-01"), to_ns("2024-01-02"))
ASKED = (NAME, "2024-01-01", "2024-01-02")
GOOD = ScriptedVendor().bars(SERIES, SPAN)

Make = Callable[..., qmtl.EnhancedQuestDBProvider]


@pytest.fixture
def make(questdb_url: str, clock: FakeClock) -> Iterator[Make]:
    with ExitStack() as made:
        yield lambda *given, **options: made.enter_context(
            qmtl.EnhancedQuestDBProvider(questdb_url, *given, clock=clock, **options)
        )


def changed(row: int, **values: float) -> pl.DataFrame:
    """The good bars with other values in one of them."""
    at = pl.int_range(pl.len()) == row
    return GOOD.with_columns(
        pl.when(at).then(pl.lit(value)).otherwise(pl.col(name)).alias(name) for name, value in values.items()
    )


def test_valid_frames_pass(make: Make) -> None:
    provider = make(ScriptedVendor())
    result = provider.fetch(*ASKED)
    assert_frame_equal(result.frame, GOOD)
    assert result.report.passes
    assert provider.last_conformance_report is result.report
    assert repr(provider).startswith("EnhancedQuestDBProvider")


def test_warnings_raise_conformance_pipeline_error(make: Make) -> None:
    provider = make(ScriptedVendor({NAME: changed(700, low=GOOD["low"][700] / 20)}))
    with pytest.raises(qmtl.ConformancePipelineError) as raised:
        provider.fetch(*ASKED)
    assert (raised.value.report.errors, raised.value.report.warnings) == (0, 1)


def test_errors_raise_conformance_pipeline_error(make: Make) -> None:
    """Rows that are in the store already, by a program that did not look at them."""
    provider = make({})
    provider.store.commit(SERIES, Write("them", 1, changed(700, high=0.5), Coverage.of(SPAN)))
    with pytest.raises(qmtl.ConformancePipelineError) as raised:
        provider.fetch(*ASKED)
    assert raised.value.report.errors
    assert "quality.high_below_low" in {finding.rule for finding in raised.value.report.findings}


@pytest.mark.parametrize("wrong", [{"low": 1.0}, {"high": 0.5}], ids=["warning", "error"])
def test_partial_ok_returns_the_normalised_frame_with_last_conformance_report(
    make: Make, wrong: dict[str, float]
) -> None:
    provider = make({}, partial_ok=True)
    assert provider.last_conformance_report is None
    stored = changed(700, **wrong)
    provider.store.commit(SERIES, Write("them", 1, stored, Coverage.of(SPAN)))
    result = provider.fetch(*ASKED)
    assert_frame_equal(result.frame, stored)
    assert result.frame.schema["ts"] == pl.Datetime("ns", "UTC")
    assert result.frame["ts"].is_sorted()
    assert provider.last_conformance_report is result.report
    assert not result.report.passes


def test_impossible_rows_of_a_vendor_are_kept_aside(make: Make) -> None:
    provider = make(ScriptedVendor(page_rows=1_440, faults={0: Change(high_below_low)}))
    with pytest.raises(qmtl.MissingDataError, match=r"quality\.high_below_low"):
        provider.fetch(*ASKED)
    assert set(provider.store.quarantined(SERIES, SPAN)["rule"]) == {"quality.high_below_low"}
    assert_frame_equal(provider.fetch(*ASKED).frame, GOOD)


def test_settings_that_name_such_a_store_make_one(
    questdb_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QMTL_SEAMLESS_STORE", questdb_url)
    monkeypatch.chdir(tmp_path)
    with qmtl.EnhancedQuestDBProvider.from_settings() as provider:
        assert isinstance(provider, qmtl.EnhancedQuestDBProvider)
        assert PASSWORD not in repr(provider)


def test_a_store_that_is_open_is_taken(questdb_url: str) -> None:
    with questdb_store(questdb_url) as store, qmtl.EnhancedQuestDBProvider(store) as provider:
        assert provider.store is store


@pytest.mark.parametrize("other", ["bars", "postgresql://host/db?password=s3cret", Path("bars"), None])
def test_any_other_store_is_refused(other: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(qmtl.InvalidRequestError, match="do not lie in QuestDB") as refused:
        qmtl.EnhancedQuestDBProvider(other)
    assert "s3cret" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []
