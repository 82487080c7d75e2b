"""What has changed since an earlier report: per rule, new, worsened, improved, resolved or unchanged."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

from qmtl.foundation.timeline import Span
from qmtl.foundation.times import to_ns
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
    one. A rule that is found no more is resolved
    only if the bars it named lie within `span`, and it is none of those that could not be checked (a rule,
    or a group such as `schema`): what was not looked at is left out.
    """
    now = {finding.rule: finding for finding in findings}
    if previous is None:
        return dict.fromkeys(now, "new")
    then = {finding["rule"]: finding for finding in previous["findings"]}
    same_span = Span(to_ns(previous["span"]["start"]), to_ns(previous["span"]["end"])) == span
    trends: dict[str, Trend] = {}
    for rule, finding in now.items():
        if rule not in then:
            trends[rule] = "new"
        elif same_span:
            trends[rule] = _trend(finding.count - then[rule]["count"])
        elif _is_part_of(finding, then[rule]):
            trends[rule] = "unchanged"
        else:
            trends[rule] = _trend(finding.fraction - then[rule]["fraction"])
    for rule, earlier in then.items():
        first, last = to_ns(earlier["first_ts"]), to_ns(earlier["last_ts"])
        is_checked = rule not in unchecked and rule.partition(".")[0] not in unchecked
        if rule not in now and is_checked and span.start <= first and last < span.end:
            trends[rule] = "resolved"
    return trends


def _is_part_of(finding: Finding, earlier: Mapping[str, Any]) -> bool:
    """Whether an earlier finding of the same rule may have named all these bars."""
    return (
        finding.count <= earlier["count"]
        and to_ns(earlier["first_ts"]) <= finding.first_ts
        and finding.last_ts <= to_ns(earlier["last_ts"])
    )


def says_more(findings: Iterable[Finding], previous: Mapping[str, Any] | None) -> bool:
    """Whether something is found that the earlier report lacks: a rule, more of its bars, or others."""
    then = {finding["rule"]: finding for finding in previous["findings"]} if previous else {}
    return any(
        finding.rule not in then or not _is_part_of(finding, then[finding.rule]) for finding in findings
    )


def _trend(change: float) -> Trend:
    if change == 0:
        return "unchanged"
    return "worsened" if change > 0 else "improved"
