"""What has changed since an earlier report: per rule, new, worsened, improved, resolved or unchanged."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

from qmtl.foundation.timeline import Span
from qmtl.foundation.times import to_ns
from qmtl.runtime.conformance.finding_summaries import FindingSummary
from qmtl.runtime.conformance.findings import Finding

Trend = Literal["new", "worsened", "improved", "resolved", "unchanged"]


def digest(
    findings: Iterable[Finding],
    span: Span,
    previous: Mapping[str, Any] | None,
    unchecked: Collection[str] = (),
) -> dict[str, Trend]:
    """Each rule's trend against the JSON of an earlier report; without one, everything is new.

    Over the same span counts are compared, otherwise fractions, unless the finding is a part of the earlier
    one. A rule that no longer has a finding is
    resolved only if the bars it named lie within `span`, and the rule could be checked: `unchecked` has
    rules, or groups such as `schema`, that could not, and they are left out.
    """
    current = {finding.rule: finding for finding in findings}
    if previous is None:
        return dict.fromkeys(current, "new")
    earlier_by_rule = {finding["rule"]: finding for finding in previous["findings"]}
    same_span = Span(to_ns(previous["span"]["start"]), to_ns(previous["span"]["end"])) == span
    trends: dict[str, Trend] = {}
    for rule, finding in current.items():
        if rule not in earlier_by_rule:
            trends[rule] = "new"
        elif same_span:
            trends[rule] = _trend(finding.count - earlier_by_rule[rule]["count"])
        elif _is_part_of(finding, earlier_by_rule[rule]):
            trends[rule] = "unchanged"
        else:
            trends[rule] = _trend(finding.fraction - earlier_by_rule[rule]["fraction"])
    for rule, earlier in earlier_by_rule.items():
        first, last = to_ns(earlier["first_ts"]), to_ns(earlier["last_ts"])
        is_checked = rule not in unchecked and rule.partition(".")[0] not in unchecked
        if rule not in current and is_checked and span.start <= first and last < span.end:
            trends[rule] = "resolved"
    return trends


def _is_part_of(finding: Finding | FindingSummary, earlier: Mapping[str, Any]) -> bool:
    """Whether an earlier finding of the same rule may have named all these bars."""
    return (
        finding.count <= earlier["count"]
        and to_ns(earlier["first_ts"]) <= finding.first_ts
        and finding.last_ts <= to_ns(earlier["last_ts"])
    )


def has_new_findings(
    findings: Iterable[Finding | FindingSummary], previous: Mapping[str, Any] | None
) -> bool:
    """Whether there are findings that the earlier report lacks: of another rule, or of more or other bars."""
    earlier_by_rule = {finding["rule"]: finding for finding in previous["findings"]} if previous else {}
    return any(
        finding.rule not in earlier_by_rule or not _is_part_of(finding, earlier_by_rule[finding.rule])
        for finding in findings
    )


def _trend(change: float) -> Trend:
    if change == 0:
        return "unchanged"
    return "worsened" if change > 0 else "improved"
