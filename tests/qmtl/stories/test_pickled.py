"""Answers and errors are the same after a pickle, a deep copy, and a way through a pool of processes."""

from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import Callable
from concurrent.futures import CancelledError, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import qmtl
from qmtl.foundation import base_error, errors
from qmtl.foundation.errors import QmtlError
from qmtl.runtime.conformance.registered_schema import Violation
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.vendors import Change, Hang, Raise, ScriptedVendor, Stop

Make = Callable[..., SeamlessDataProvider]

SERIES = "ohlcv:test:BTC/USDT:1m"
DAY = ("2024-01-01", "2024-01-02")
PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)


def spiked(page: Page) -> Page:
    mark = pl.int_range(page.frame.height) == 700
    high = pl.when(mark).then(pl.col("high") * 100).otherwise("high").alias("high")
    return Page(page.frame.with_columns(high), page.answered, page.absent)


def clean(make: Make) -> Any:
    return make(ScriptedVendor()).fetch(SERIES, *DAY)


def flawed(make: Make) -> Any:
    vendor = ScriptedVendor(page_rows=1000, faults={0: Change(spiked), 1: Stop()})
    return make(vendor).fetch(SERIES, *DAY, partial_ok=True)


def empty(make: Make) -> Any:
    return make().fetch(SERIES, "2024-01-01", "2024-01-01")


def of_sessions(make: Make) -> Any:
    series = "ohlcv:test:AAPL:1h"
    provider = make(calendars={"*": "XNYS"})
    return provider.fetch(series, *DAY, partial_ok=True, strategy="FAIL_FAST")


def filled(make: Make) -> Any:
    quiet = qmtl.Coverage.of(qmtl.Span(1704067200 * 10**9, 1704070800 * 10**9))
    return make(ScriptedVendor(no_trade=quiet)).fetch(SERIES, *DAY, fill="null")


RESULTS = [clean, flawed, empty, of_sessions, filled]


def same(one: Any, other: Any) -> bool:
    """Alike to the last bit, facts and texts, of one type."""
    return type(one) is type(other) and one == other and repr(one) == repr(other)


@pytest.mark.parametrize("kind", RESULTS)
def test_a_result_and_its_parts_are_the_same_after_a_pickle(make: Make, kind: Callable[[Make], Any]) -> None:
    result = kind(make)
    parts = (result, result.receipt, result.report, result.coverage, result.coverage.present)
    for whole in (*parts, *result.report.findings):
        for protocol in PROTOCOLS:
            again = pickle.loads(pickle.dumps(whole, protocol))
            assert same(again, whole)
        assert same(copy.deepcopy(whole), whole)
        assert same(copy.copy(whole), whole)
    again = pickle.loads(pickle.dumps(result))
    assert again.receipt.fingerprint == result.receipt.fingerprint
    assert again.receipt.to_json() == result.receipt.to_json()
    assert again.report.to_json() == result.report.to_json()
    assert again.coverage.counts == result.coverage.counts
    assert again.frame.equals(result.frame, null_equal=True)
    assert again.frame.schema == result.frame.schema
    assert again._repr_html_() == result._repr_html_()
    assert again.pending.done


def test_answers_that_differ_are_not_equal(make: Make) -> None:
    provider = make(ScriptedVendor())
    one, other = provider.fetch(SERIES, *DAY), provider.fetch(SERIES, DAY[0], "2024-01-01T12:00Z")
    assert one != other
    assert one.receipt != other.receipt
    assert one.report != other.report
    assert one.coverage != other.coverage
    assert one != "something else"


def test_a_deep_copy_is_one_of_its_own(make: Make) -> None:
    result = clean(make)
    twin = copy.deepcopy(result)
    twin.receipt.phases["total"] = -1.0
    assert result.receipt.phases["total"] >= 0


# -- what goes on behind an answer


def test_an_answer_is_not_copied_while_its_holes_are_asked_for(make: Make) -> None:
    result = make(ScriptedVendor(faults={0: Hang()})).fetch(SERIES, *DAY, strategy="PARTIAL_FILL")
    for copied in (pickle.dumps, copy.deepcopy):
        with pytest.raises(qmtl.InvalidRequestError, match=r"holes are being asked for[\s\S]*pending.wait"):
            copied(result)
    result.pending.cancel()
    again = pickle.loads(pickle.dumps(result))
    assert again.pending.done
    with pytest.raises(CancelledError):
        again.pending.wait()


def test_a_copy_knows_how_the_work_behind_it_ended(make: Make) -> None:
    well = make(ScriptedVendor()).fetch(SERIES, *DAY, strategy="PARTIAL_FILL")
    well.pending.wait(60)
    assert pickle.loads(pickle.dumps(well)).pending.done
    ill = make(ScriptedVendor(faults={0: Raise(qmtl.SourceUnavailableError("down", source="x"))}), "other")
    result = ill.fetch(SERIES, *DAY, strategy="PARTIAL_FILL")
    with pytest.raises(qmtl.SourceUnavailableError, match="down"):
        result.pending.wait(60)
    with pytest.raises(qmtl.SourceUnavailableError, match="down"):
        pickle.loads(pickle.dumps(result)).pending.wait()


# -- errors


def missing(make: Make) -> None:
    make().fetch(SERIES, *DAY, strategy="FAIL_FAST")


def source(make: Make) -> None:
    down = qmtl.SourceUnavailableError("down", source="x", why="a flood")
    make(ScriptedVendor(page_rows=700, faults={0: Change(spiked), 1: Raise(down)})).fetch(SERIES, *DAY)


def conformance(make: Make) -> None:
    make(ScriptedVendor(faults={0: Change(spiked)})).fetch(SERIES, *DAY)


def budget(make: Make) -> None:
    make().fetch(SERIES, *DAY, sla=qmtl.SLAPolicy(min_coverage=0.5))


def request(make: Make) -> None:
    make().fetch(SERIES, *reversed(DAY))


@pytest.mark.parametrize("fails", [missing, source, conformance, budget, request])
def test_an_error_keeps_its_facts(make: Make, fails: Callable[[Make], None]) -> None:
    with pytest.raises(QmtlError) as caught:
        fails(make)
    error = caught.value
    for protocol in PROTOCOLS:
        assert alike(pickle.loads(pickle.dumps(error, protocol)), error)
    assert alike(copy.deepcopy(error), error)


def alike(one: QmtlError, other: QmtlError) -> bool:
    """Equal, in both directions and as a key; of one text; and with every fact the same."""
    assert one == other == one
    assert vars(one) == vars(other)
    return hash(one) == hash(other) and str(one) == str(other)


def every_kind(kind: type[QmtlError] = QmtlError) -> set[type[QmtlError]]:
    return {kind}.union(*map(every_kind, kind.__subclasses__()))


# What each kind is made of, beside what all have.
FACTS: dict[str, Any] = {
    "holes": {"unknown": qmtl.Coverage([(0, 60)])},
    "report": None,
    "bar_ts": 60,
    "nodes": {"fast": 1.5},
    "tried": "fetch bars",
    "differences": ("outcome: a now, b in the proof",),
    "phase": "total",
    "ledger": {"total": 1.0},
    "source": "x",
    "subject": "bars",
    "mode": "strict",
    "problems": (
        Violation("schema.null", "close", "close is null", np.arange(3)),
        Violation("schema.column_missing", "open", "the column open is missing", None),
    ),
    "code": 42201,
    "comparisons": (),
    "url": "http://127.0.0.1:1",
    "lease_key": "store/ohlcv:test:A/B:1m/7",
    "version": 3,
    "stale": {4: 17},
    "evidence": {"failed": 1},
    "reason": "wrong",
    "path": "/bars",
}


@pytest.mark.parametrize("kind", sorted(every_kind(), key=lambda kind: kind.__name__))
def test_every_kind_of_error_travels(kind: type[QmtlError]) -> None:
    if kind is errors.MissingDependencyError:
        error: QmtlError = errors.MissingDependencyError("ccxt", extra="ccxt")
    else:
        wanted = {name: FACTS[name] for name in keywords(kind) & FACTS.keys()}
        error = kind("it failed", series=SERIES, span=qmtl.Span(0, 60), why="so", next_step="this", **wanted)
    error.add_note("a note")
    error.others = (qmtl.MissingDataError("more", holes={}),)
    assert alike(pickle.loads(pickle.dumps(error)), error)


def keywords(kind: type[QmtlError]) -> set[str]:
    return {
        name
        for one in kind.__mro__
        if "__init__" in vars(one) and (code := getattr(one.__init__, "__code__", None))
        for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    }


# -- pools


def test_answers_and_errors_come_back_from_a_pool_of_processes(make: Make, tmp_path: Path) -> None:
    provider = make(ScriptedVendor(page_rows=720, faults={0: Change(spiked), 1: Stop()}), clock=None)
    result = provider.fetch(SERIES, *DAY, partial_ok=True)
    fetch = f"__import__('qmtl').SeamlessDataProvider({str(tmp_path / 'bars')!r}, vendors={{}})"
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert same(pool.submit(copy.deepcopy, result).result(), result), "there and back"
        reads = operator.methodcaller("to_json")
        assert pool.submit(reads, result.report).result() == result.report.to_json()
        there = pool.submit(eval, f"{fetch}.fetch({SERIES!r}, *{DAY}, partial_ok=True)").result()
        assert there.frame.equals(result.frame)
        assert there.receipt.fingerprint == result.receipt.fingerprint
        assert there.coverage == result.coverage
        refused = pool.submit(eval, f"{fetch}.fetch({SERIES!r}, *{DAY})")
        with pytest.raises(qmtl.MissingDataError) as caught:
            refused.result()
    assert caught.value.holes == {"unknown": result.coverage.unknown}
    assert [type(other) for other in caught.value.others] == [qmtl.ConformancePipelineError]
    assert caught.value.others[0].report.warnings == 1


# -- other versions


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("what", ["result", "receipt", "report", "coverage", "states", "error"])
def test_a_pickle_of_another_format_is_refused_with_both_versions(
    make: Make, monkeypatch: pytest.MonkeyPatch, what: str, protocol: int
) -> None:
    result = clean(make)
    whole = {
        "result": result,
        "receipt": result.receipt,
        "report": result.report,
        "states": result.coverage,
        "coverage": result.coverage.present,
        "error": qmtl.MissingDataError("gone", holes={}),
    }[what]
    with monkeypatch.context() as later:
        later.setattr(base_error, "FORMAT", 99)
        later.setattr(base_error, "__version__", "7.8.9")
        doctored = pickle.dumps(whole, protocol)
    # What a later version has renamed is not looked for before the writer is known.
    for name in (b"_restored", b"from_arrays", b"BarStates", b"ConformanceReport"):
        doctored = doctored.replace(name, name[:-1] + b"X")
    with pytest.raises(qmtl.InvalidRequestError) as refused:
        pickle.loads(doctored)
    for words in ("qmtl 7.8.9", "format 99", f"qmtl {qmtl.__version__}", f"format {base_error.FORMAT}"):
        assert words in str(refused.value)


def test_the_version_of_the_writer_alone_refuses_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    result = clean(make)
    with monkeypatch.context() as later:
        later.setattr(base_error, "__version__", "7.8.9")
        written = pickle.dumps(result)
    assert b"7.8.9" in written
    assert pickle.loads(written) == result
