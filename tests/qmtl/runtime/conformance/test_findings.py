"""A finding says one rule, how often it was broken, where, and shows a few rows; JSON keeps all of it."""

from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.frames import TS, bars
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import DAY, HOUR
from qmtl.runtime.conformance.findings import (
    SAMPLE_ROWS,
    Finding,
    cell_finding,
    damage_findings,
    merge_findings,
    quarantine_findings,
    replaced_findings,
    row_finding,
    sort_findings,
)
from qmtl.runtime.conformance.rules import DAMAGED, REPLACED, RULE_IDS, RULES, SILENCE

JUMP, SPIKE = "quality.price_jump", "quality.price_spike"
HOURS = Grid(Timeframe.parse("1h"))


def hours(*numbers: int) -> pl.DataFrame:
    ones = np.ones(len(numbers))
    return bars(
        np.array(numbers, dtype=np.int64) * HOUR,
        dict.fromkeys(("open", "high", "low", "close", "volume"), ones),
    )


def test_a_finding_of_rows() -> None:
    found = row_finding(JUMP, hours(3, 4, 5, 6, 7, 9), total=24, accepted=2)
    assert (found.rule, found.severity) == (JUMP, RULES[JUMP].severity)
    assert (found.count, found.fraction, found.accepted) == (6, 0.25, 2)
    assert (found.first_ts, found.last_ts) == (3 * HOUR, 9 * HOUR)
    assert found.sample.equals(hours(3, 4, 5, 6, 7))
    assert found.raises == (4 if found.severity != "info" else 0)


def test_a_finding_of_cells_shows_spans_and_ends_with_the_open_of_the_last_bar() -> None:
    cells = Coverage((hour * HOUR, (hour + 2) * HOUR) for hour in range(0, 24, 4))
    found = cell_finding(SILENCE, cells, HOURS, total=48)
    assert (found.count, found.fraction) == (12, 0.25)
    assert (found.first_ts, found.last_ts) == (0, 21 * HOUR)
    assert found.sample.height == SAMPLE_ROWS
    assert found.sample.schema == pl.Schema({"start": TS, "end": TS})
    assert found.sample.with_columns(pl.all().to_physical()).row(4) == (16 * HOUR, 18 * HOUR)


def test_an_info_raises_nothing() -> None:
    info = next(rule for rule in RULE_IDS if RULES[rule].severity == "info")
    assert row_finding(info, hours(1, 2), total=2).raises == 0


def test_nothing_replaced_and_nothing_damaged_say_nothing() -> None:
    assert replaced_findings(hours(), total=5) == []
    assert damage_findings(EMPTY, HOURS, Span(0, DAY)) == []


def test_replaced_rows_come_in_order_of_time() -> None:
    (found,) = replaced_findings(hours(5, 2), total=4)
    assert (found.rule, found.count, found.fraction) == (REPLACED, 2, 0.5)
    assert (found.first_ts, found.last_ts) == (2 * HOUR, 5 * HOUR)


def test_damage_is_a_share_of_the_bars_asked_for() -> None:
    (found,) = damage_findings(Coverage.of(Span(HOUR, 7 * HOUR)), HOURS, Span(0, DAY))
    assert (found.rule, found.count, found.fraction) == (DAMAGED, 6, 0.25)


def test_quarantined_rows_become_one_finding_a_rule_in_the_order_of_the_catalogue() -> None:
    rules = ["schema.missing_price", "temporal.off_grid", "schema.missing_price"]
    frame = hours(5, 1, 3).with_columns(rule=pl.Series(rules))
    found = quarantine_findings(frame, total=12)
    assert [one.rule for one in found] == sorted(set(rules), key=RULE_IDS.index)
    by_rule = {one.rule: one for one in found}
    assert by_rule["schema.missing_price"].count == 2
    assert by_rule["schema.missing_price"].first_ts == 3 * HOUR
    assert by_rule["temporal.off_grid"].fraction == pytest.approx(1 / 12)


def test_findings_of_parts_become_one_over_all_that_was_looked_at() -> None:
    late = row_finding(JUMP, hours(20, 21), total=10, accepted=1)
    early = row_finding(JUMP, hours(1, 2, 3, 4), total=30)
    other = row_finding(SPIKE, hours(9), total=10)
    joined, alone = merge_findings([late, other, early])
    assert alone is other
    assert (joined.count, joined.accepted) == (6, 1)
    assert joined.fraction == pytest.approx(6 / 40)
    assert (joined.first_ts, joined.last_ts) == (HOUR, 21 * HOUR)
    assert joined.sample.equals(hours(1, 2, 3, 4, 20))


@given(st.permutations(RULE_IDS))
def test_findings_stand_in_the_order_of_the_catalogue(rules: list[str]) -> None:
    found = sort_findings(row_finding(rule, hours(1), total=1) for rule in rules)
    assert [one.rule for one in found] == list(RULE_IDS)
    weights = ["error", "warning", "info"]
    assert [one.severity for one in found] == sorted((one.severity for one in found), key=weights.index)


def test_json_keeps_a_finding_whole_with_numbers_that_json_has_not() -> None:
    frame = hours(1, 2, 3).with_columns(
        high=pl.Series([math.nan, math.inf, -math.inf]),
        low=pl.Series([None, 1.5, None], dtype=pl.Float64),
        line=pl.Series([7, 8, 9]),
        rule=pl.Series([JUMP] * 3),
    )
    found = row_finding(JUMP, frame, total=7, accepted=1)
    text = json.dumps(found.to_json(), allow_nan=False)
    again = Finding.from_json(json.loads(text))
    assert again == found
    assert again.sample.equals(found.sample, null_equal=True)
    assert again.sample.schema == found.sample.schema
    assert json.loads(text)["sample"][0]["high"] == "nan"
    assert json.loads(text)["first_ts"] == "1970-01-01T01:00:00Z"


def test_json_keeps_a_finding_of_cells() -> None:
    found = cell_finding(SILENCE, Coverage.of(Span(HOUR, 3 * HOUR)), HOURS, total=24)
    again = Finding.from_json(json.loads(json.dumps(found.to_json())))
    assert again == found
    assert again.sample.equals(found.sample)


def test_json_keeps_a_finding_without_a_sample() -> None:
    bare = Finding(JUMP, RULES[JUMP].severity, 1, 1.0, 0, 0, pl.DataFrame())
    assert Finding.from_json(bare.to_json()) == bare


def test_findings_differ_by_their_samples_too() -> None:
    one, other = row_finding(JUMP, hours(1), total=1), row_finding(JUMP, hours(1), total=1)
    assert one == other
    changed = hours(1).with_columns(close=pl.lit(2.0))
    assert one != row_finding(JUMP, changed, total=1)
    assert one != "a finding"


def test_the_line_of_a_finding() -> None:
    severity = f"{RULES[JUMP].severity:<8}"
    assert repr(row_finding(JUMP, hours(1), total=1)) == f"{severity}{JUMP}: 1 at 1970-01-01T01:00:00Z"
    assert repr(row_finding(JUMP, hours(0, 24), total=8, accepted=1)) == (
        f"{severity}{JUMP}: 2 (25.00%) at 1970-01-01 .. 1970-01-02, 1 accepted"
    )
