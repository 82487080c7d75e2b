"""What has changed since an earlier report, rule by rule."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.timeline import Span
from qmtl.foundation.times import HOUR, MINUTE, iso
from qmtl.runtime.conformance.digest import digest, has_new_findings
from qmtl.runtime.conformance.findings import Finding
from qmtl.runtime.conformance.rules import RULES

SPAN = Span(0, HOUR)
JUMP, SPIKE, SHIFT = "quality.price_jump", "quality.price_spike", "quality.level_shift"


def finding(rule: str, count: int, *, first: int = 10, last: int = 20, among: int = 60) -> Finding:
    """`count` bars from minute `first` to minute `last`, of `among` that were looked at."""
    return Finding(
        rule, RULES[rule].severity, count, count / among, first * MINUTE, last * MINUTE, pl.DataFrame()
    )


def report(*findings: Finding, span: Span = SPAN) -> dict[str, Any]:
    return {
        "span": {"start": iso(span.start), "end": iso(span.end)},
        "findings": [one.to_json() for one in findings],
    }


def test_without_an_earlier_report_everything_is_new() -> None:
    assert digest([finding(JUMP, 1), finding(SPIKE, 2)], SPAN, None) == {JUMP: "new", SPIKE: "new"}


@pytest.mark.parametrize(
    ("before", "now", "trend"), [(3, 3, "unchanged"), (3, 5, "worsened"), (3, 1, "improved")]
)
def test_over_the_same_span_counts_are_compared(before: int, now: int, trend: str) -> None:
    """Though the share of the bars says the opposite."""
    earlier = report(finding(JUMP, before, among=60))
    assert digest([finding(JUMP, now, among=60_000)], SPAN, earlier) == {JUMP: trend}


@pytest.mark.parametrize(("among", "trend"), [(30, "worsened"), (60, "unchanged"), (600, "improved")])
def test_over_another_span_shares_are_compared(among: int, trend: str) -> None:
    earlier = report(finding(JUMP, 4, among=60), span=Span(0, 2 * HOUR))
    # The last bar is not among those of the earlier finding, so it is not a part of it.
    assert digest([finding(JUMP, 4, last=30, among=among)], SPAN, earlier) == {JUMP: trend}


def test_a_part_of_an_earlier_finding_is_unchanged_whatever_its_share() -> None:
    earlier = report(finding(JUMP, 4, first=10, last=20, among=1000), span=Span(0, 2 * HOUR))
    assert digest([finding(JUMP, 2, first=10, last=12, among=5)], SPAN, earlier) == {JUMP: "unchanged"}


def test_a_rule_that_is_found_no_more_is_resolved_where_its_bars_were_looked_at() -> None:
    inside, before, behind = finding(JUMP, 2), finding(SPIKE, 2, first=0), finding(SHIFT, 2, last=30)
    earlier = report(inside, before, behind)
    assert digest([], Span(5 * MINUTE, 30 * MINUTE), earlier) == {JUMP: "resolved"}
    assert digest([], Span(0, 31 * MINUTE), earlier) == dict.fromkeys((JUMP, SPIKE, SHIFT), "resolved")


@pytest.mark.parametrize("unchecked", [JUMP, "quality"])
def test_what_was_not_checked_is_not_resolved(unchecked: str) -> None:
    assert digest([], SPAN, report(finding(JUMP, 2)), [unchecked]) == {}


def test_what_was_not_checked_in_another_group_is_no_reason() -> None:
    assert digest([], SPAN, report(finding(JUMP, 2)), ["schema"]) == {JUMP: "resolved"}


@given(
    st.integers(1, 5),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(1, 5),
    st.integers(0, 30),
    st.integers(0, 30),
)
def test_more_bars_or_bars_outside_are_new_findings(
    count: int, a: int, b: int, count_then: int, c: int, d: int
) -> None:
    now = finding(JUMP, count, first=min(a, b), last=max(a, b))
    then = finding(JUMP, count_then, first=min(c, d), last=max(c, d))
    is_more = count > count_then or min(a, b) < min(c, d) or max(a, b) > max(c, d)
    assert has_new_findings([now], report(then)) == is_more


def test_a_new_rule_says_more_and_nothing_says_nothing() -> None:
    assert has_new_findings([finding(SPIKE, 1)], report(finding(JUMP, 9)))
    assert has_new_findings([finding(SPIKE, 1)], None)
    assert not has_new_findings([], None)
    assert not has_new_findings([], report(finding(JUMP, 9)))
