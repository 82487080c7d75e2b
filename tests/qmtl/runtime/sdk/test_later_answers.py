"""Answers of a panel are made when they are looked at, and are what they would have been at once."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import qmtl
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import HOUR, MINUTE, to_ns
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk import later_answers
from qmtl.runtime.sdk.later_answers import Answers
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.results import FetchResult
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.vendors import ScriptedVendor

BOTH_ENGINES = True

Make = Callable[..., SeamlessDataProvider]

NAMES = [f"ohlcv:a:X{number}/USDT:1m" for number in range(5)]
DAWN = to_ns("2024-01-01")
SPAN = Span(DAWN, DAWN + 4 * HOUR)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The series of which an answer was made later, in order."""
    series: list[str] = []
    plain = later_answers.plain_result

    def counted(end: Any, *rest: Any) -> FetchResult:
        series.append(end.profile.series.text)
        return plain(end, *rest)

    monkeypatch.setattr(later_answers, "plain_result", counted)
    return series


def filled(make: Make) -> SeamlessDataProvider:
    provider = make(ScriptedVendor())
    provider.backfill_many(NAMES, *SPAN)
    return provider


def facts_of(answer: FetchResult) -> Any:
    receipt, report = answer.receipt.to_json(), answer.report.to_json()
    return answer.frame.to_dicts(), answer.coverage, report, receipt


def test_only_what_is_looked_at_is_made_and_once(make: Make, made: list[str]) -> None:
    provider = filled(make)
    for _ in range(2):  # read from the store, and from the cache
        made.clear()
        panel = provider.fetch_many(NAMES, *SPAN)
        # What the provider calls its last answer is made.
        assert made == NAMES[-1:]
        assert provider.last_conformance_report == panel[NAMES[-1]].report
        made.clear()
        assert panel.frame.height == 5 * 240
        assert panel.wide("close").width == 6
        assert not made
        assert panel[NAMES[2]] is panel.results[NAMES[2]] is panel[SeriesId.parse(NAMES[2])]
        assert made == [NAMES[2]]
        assert_frame_equal(pl.concat([panel[name].frame for name in NAMES]), panel.frame.drop("series"))


def test_an_answer_is_of_the_time_of_the_call(make: Make) -> None:
    provider = filled(make)
    provider.fetch_many(NAMES, *SPAN)  # both of the others come from the cache
    at_once = provider.fetch_many(NAMES, *SPAN)
    expected = {name: facts_of(answer) for name, answer in at_once.results.items()}
    seconds = {name: answer.receipt.phases for name, answer in at_once.results.items()}
    late = provider.fetch_many(NAMES, *SPAN)
    # By then bars are others, a report with findings is archived, and the provider is gone.
    store = provider._fetcher.parts.store
    for name in NAMES:
        series = SeriesId.parse(name)
        bars = synthetic_bars(series, SPAN, seed=9).with_columns(pl.lit(1.0).alias("volume"))
        high = pl.when(pl.int_range(pl.len()) == 120).then(pl.col("high") * 100).otherwise("high")
        store.commit(
            series, Write("v", DAWN, bars.with_columns(high.alias("high")), answered=Coverage.of(SPAN))
        )
        assert provider.fetch(name, *SPAN, partial_ok=True).report.warnings
    provider.close()
    for name, answer in late.results.items():
        frame, coverage, report, receipt = facts_of(answer)
        before = expected[name]
        assert (frame, coverage, report) == before[:3]
        assert {**receipt, "seconds": None} == {**before[3], "seconds": None}
        assert answer.receipt.phases == seconds[name]  # by a clock that stands still


def test_what_has_findings_or_is_filled_is_made_at_once(make: Make, made: list[str]) -> None:
    provider = filled(make)
    series = SeriesId.parse(NAMES[1])
    bars = synthetic_bars(series, SPAN)
    high = pl.when(pl.int_range(pl.len()) == 120).then(pl.col("high") * 100).otherwise("high")
    provider._fetcher.parts.store.commit(
        series, Write("v", DAWN, bars.with_columns(high.alias("high")), answered=Coverage.of(SPAN))
    )
    with pytest.raises(qmtl.ConformancePipelineError, match=r"price_spike"):
        provider.fetch_many(NAMES, *SPAN, strategy="FAIL_FAST")
    panel = provider.fetch_many(NAMES, *SPAN, strategy="FAIL_FAST", partial_ok=True)
    made.clear()
    assert panel[NAMES[1]].receipt.violations
    assert not made
    filled_up = provider.fetch_many(NAMES, *SPAN, strategy="FAIL_FAST", partial_ok=True, fill="flat")
    assert "filled" in filled_up.frame.columns
    assert [answer.frame.width for answer in filled_up.results.values()] == [7] * 5
    assert not made


def test_threads_get_one_answer(make: Make) -> None:
    panel = filled(make).fetch_many(NAMES, *SPAN)
    together = Barrier(8)

    def look(_: int) -> int:
        together.wait(60)
        return id(panel[NAMES[0]])

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(look, range(8)))) == 1


def test_answers_are_a_mapping_that_can_be_compared_and_pickled(make: Make) -> None:
    provider = filled(make)
    panel = provider.fetch_many(NAMES, *SPAN)
    assert isinstance(panel.results, Answers)
    assert (list(panel.results), len(panel.results)) == (NAMES, 5)
    assert NAMES[0] in panel.results
    assert "ohlcv:a:NEVER/USDT:1m" not in panel.results
    with pytest.raises(KeyError):
        panel.results["ohlcv:a:NEVER/USDT:1m"]
    copied = pickle.loads(pickle.dumps(panel))
    assert copied == panel
    assert panel.results == dict(panel.results)
    assert repr(dict(panel.results)) == repr(panel.results)
    assert panel.results != {**panel.results, "more": panel[NAMES[0]]}
    minute = provider.fetch_many(NAMES, SPAN.start, SPAN.start + MINUTE)
    assert minute.results != panel.results
