"""Rollups of many series merge in any order and any grouping, and the worst stands first."""

from __future__ import annotations

import json
import pickle
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

import qmtl
from qmtl.foundation.states import STATES
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, to_ns
from qmtl.runtime.conformance.rules import RULES
from qmtl.runtime.conformance.universe import Failure, Found, SeriesRollup, UniverseReport, merge_into

SPAN = Span(to_ns("2024-01-01"), to_ns("2024-02-01"))
ERROR, WARNING, INFO = (
    next(rule.id for rule in RULES.values() if rule.severity == severity)
    for severity in ("error", "warning", "info")
)
NAMES = [f"ohlcv:v:{symbol}/USDT:1m" for symbol in "ABCD"]

counts = st.integers(0, 1_000)
# What a task gives: one thing that is known of one series.
events = st.tuples(
    st.sampled_from(NAMES),
    st.one_of(
        st.tuples(st.sampled_from(STATES), counts),
        st.tuples(st.sampled_from([ERROR, WARNING, INFO]), st.tuples(counts, counts)),
        st.sampled_from([Failure("StoreError", "gone"), Failure("WorkerLost", "lost", "why", "next")]),
        counts,
    ),
)


def rollup_of(fact: object) -> SeriesRollup:
    match fact:
        case Failure():
            return SeriesRollup(failures=frozenset({fact}))
        case (str(rule), (int(bars), int(raises))):
            return SeriesRollup(found={rule: Found(bars, raises)})
        case (str(state), int(bars)):
            return SeriesRollup(states={state: bars})
        case _:
            assert isinstance(fact, int)
            return SeriesRollup(not_closed=fact)


def report_of(event: tuple[str, object], span: Span = SPAN) -> UniverseReport:
    name, fact = event
    return UniverseReport("revalidate", span, {name: rollup_of(fact)})


@given(st.lists(events, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_parts_merge_in_any_order_and_grouping_to_what_counting_gives(
    facts: list[tuple[str, object]], chance: object
) -> None:
    parts = [report_of(event) for event in facts]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    while len(parts) > 1:  # any two neighbours of any order, until one is left
        chance.shuffle(parts)  # type: ignore[attr-defined]
        parts = [parts[0] + parts[1], *parts[2:]]
    assert parts[0] == whole
    assert parts[0].to_json() == whole.to_json()

    naive: Counter[tuple[str, str]] = Counter()
    for name, fact in facts:
        one = rollup_of(fact)
        naive.update({(name, state): bars for state, bars in one.states.items()})
        naive.update({(name, rule): found.bars for rule, found in one.found.items()})
        naive.update({(name, f"raises {rule}"): found.raises for rule, found in one.found.items()})
        naive[name, "not closed"] += one.not_closed
    assert set(whole) == {name for name, _ in facts}
    for name in whole:
        one = whole[name]
        assert {state: one.states.get(state, 0) for state in STATES} == {s: naive[name, s] for s in STATES}
        assert one.not_closed == naive[name, "not closed"]
        for rule in (ERROR, WARNING, INFO):
            found = one.found.get(rule, Found(0, 0))
            assert found == Found(naive[name, rule], naive[name, f"raises {rule}"])
        assert one.failures == {fact for who, fact in facts if who == name and isinstance(fact, Failure)}
    assert whole.states == {state: sum(naive[name, state] for name in NAMES) for state in STATES}
    for rule, series, found in whole.rules:
        having = {who for who, fact in facts if isinstance(fact, tuple) and fact[0] == rule}
        assert series == len(having)
        assert found.bars == sum(naive[name, rule] for name in NAMES)


@given(st.lists(events, max_size=12))
def test_a_report_that_grows_in_place_is_the_sum_of_its_parts(facts: list[tuple[str, object]]) -> None:
    grown: dict[str, SeriesRollup] = {}
    for event in facts:
        merge_into(grown, report_of(event).series)
    summed = UniverseReport("revalidate", SPAN, {})
    for event in facts:
        summed = summed + report_of(event)
    assert grown == summed.series


def test_spans_merge_to_what_holds_both_and_works_do_not_mix() -> None:
    later = Span(SPAN.end, SPAN.end + DAY)
    both = report_of((NAMES[0], 0)) + report_of((NAMES[0], 0), later)
    assert both.span == Span(SPAN.start, later.end)
    with pytest.raises(qmtl.InvalidRequestError, match="do not merge"):
        both + UniverseReport("backfill", SPAN, {})


def universe() -> UniverseReport:
    return UniverseReport(
        "revalidate",
        SPAN,
        {
            "ohlcv:v:FINE:1m": SeriesRollup({"present": 10, "unknown": 1}, not_closed=1),
            "ohlcv:v:HOLES/USDT:1m": SeriesRollup({"present": 8, "absent": 1, "unknown": 2}, not_closed=1),
            "ohlcv:v:WARNED:1m": SeriesRollup({"present": 10}, found={WARNING: Found(5, 3)}),
            "ohlcv:v:BAD A:1m": SeriesRollup({"present": 10}, found={ERROR: Found(2, 2), INFO: Found(9, 0)}),
            "ohlcv:v:ACCEPTED:1m": SeriesRollup({"present": 10}, found={WARNING: Found(4, 0)}),
            "ohlcv:v:GONE:1m": SeriesRollup(failures=frozenset({Failure("StoreError", "it is gone")})),
        },
    )


def test_the_worst_stands_first_and_each_says_what_to_run_next() -> None:
    report = universe()
    assert [(name.split(":")[2], report.command(name)) for name, _ in report.worst_first] == [
        ("GONE", "qmtl revalidate ohlcv:v:GONE:1m 2024-01-01 2024-02-01"),
        ("BAD A", "qmtl reports show 'ohlcv:v:BAD A:1m'"),
        ("WARNED", "qmtl reports show ohlcv:v:WARNED:1m"),
        ("HOLES/USDT", "qmtl backfill ohlcv:v:HOLES/USDT:1m 2024-01-01 2024-02-01"),
        ("ACCEPTED", ""),
        ("FINE", ""),
    ]
    assert report.outcome == "1 series failed, 2 errors, 3 warnings, 2 bars missing"
    assert (report.errors, report.warnings, report.missing, report.passes) == (2, 3, 2, False)
    assert list(report.failures) == ["ohlcv:v:GONE:1m"]
    assert [(rule, series, found.bars) for rule, series, found in report.rules] == [
        (ERROR, 1, 2),
        (WARNING, 2, 9),
        (INFO, 1, 9),
    ]


def test_a_universe_passes_with_what_was_accepted_and_with_bars_that_have_not_closed() -> None:
    fine = {name: one for name, one in universe().series.items() if "FINE" in name or "ACCEPTED" in name}
    report = UniverseReport("revalidate", SPAN, fine)
    assert report.passes
    assert report.outcome == "passes"


def test_all_forms_of_a_report_say_the_same() -> None:
    report = universe()
    values = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert [one["series"] for one in values["series"]] == [name for name, _ in report.worst_first]
    assert values["series"][0]["failures"] == [
        {"kind": "StoreError", "what": "it is gone", "why": "", "next_step": ""}
    ]
    assert values["states"] == report.states
    assert values["failed"] == 1
    frame = report.frame
    assert frame["series"].to_list() == [name for name, _ in report.worst_first]
    assert frame["missing"].to_list() == [0, 0, 0, 2, 0, 0]
    assert frame["failure"].to_list() == ["StoreError: it is gone", *[None] * 5]
    assert UniverseReport("revalidate", SPAN, {}).frame.schema == frame.schema
    text, html = repr(report), report._repr_html_()
    for words in ("6 series, 1 series failed, 2 errors", "StoreError: it is gone", "HOLES/USDT:1m: 2 bars"):
        assert words in text
    assert "qmtl backfill ohlcv:v:HOLES/USDT:1m" in html
    assert pickle.loads(pickle.dumps(report)) == report
    assert "ohlcv:v:FINE:1m" in report
    assert len(report) == 6


def test_ten_thousand_series_fit_a_screen() -> None:
    many = {f"ohlcv:v:S{number}:1m": SeriesRollup(found={ERROR: Found(1, 1)}) for number in range(10_000)}
    text = repr(UniverseReport("revalidate", SPAN, many))
    assert len(text.splitlines()) <= 24
    assert text.splitlines()[-1].startswith("... and ")


def test_a_failure_is_a_few_lines_whatever_the_error_carries() -> None:
    error = qmtl.MissingDataError("x" * 10_000, holes={}, why="y" * 10_000, next_step="do this")
    failure = Failure.of(error)
    assert failure.kind == "MissingDataError"
    assert failure.next_step == "do this"
    assert len(pickle.dumps(failure)) < 1_000
    assert Failure.of(ValueError()) == Failure("ValueError", "ValueError")
