"""Findings without their rows: enough to tell whether they are new, to count them, and to name them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from qmtl.foundation.frames import stamps
from qmtl.foundation.states import BarStates
from qmtl.foundation.timeline import EMPTY
from qmtl.runtime.conformance.findings import Finding
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.conformance.rules import MISSING_VOLUME, NO_VOLUME, RULE_IDS, RULES, Severity


@dataclass(frozen=True, slots=True)
class FindingSummary:
    """What one rule found, as in a `Finding`, whose fields have the same meaning."""

    rule: str
    severity: Severity
    count: int
    first_ts: int
    last_ts: int
    accepted: int = 0

    @property
    def raises(self) -> int:
        """How many of the bars make a fetch raise."""
        return 0 if self.severity == "info" else self.count - self.accepted


def summaries_of_flags(flags: Flags, raising: Flags, states: Callable[[], BarStates]) -> list[FindingSummary]:
    """What the flags of an answer name. raising: those of the `flags` that nobody has accepted.

    states: of the answer's bars, asked for where flags have spans.
    """
    found = []
    for rule, flagged in flags.spans.items():
        no_trade, grid = states().no_trade, states().grid
        if cells := flagged & no_trade:
            count = grid.count(cells)
            accepted = count - grid.count(raising.spans.get(rule, EMPTY) & no_trade)
            last_ts = grid.floor(cells.hull.end - 1)
            severity = RULES[rule].severity
            found.append(FindingSummary(rule, severity, count, cells.hull.start, last_ts, accepted))
    for code in set(flags.codes.tolist()):
        rule, ts = RULE_IDS[code], flags.ts[flags.codes == code]
        accepted = 0 if raising is flags else len(ts) - int(np.count_nonzero(raising.codes == code))
        found.append(FindingSummary(rule, RULES[rule].severity, len(ts), int(ts[0]), int(ts[-1]), accepted))
    return found


def summaries(
    frame: pl.DataFrame, flags: Flags, of_flags: Iterable[FindingSummary], beside: Iterable[Finding] = ()
) -> tuple[FindingSummary, ...]:
    """The findings that the report of the same answer has, in its order, for a fraction of its cost.

    frame: the rows of the answer. of_flags: `summaries_of_flags`. beside: findings that do not come from
    flags.
    """
    by_rule: dict[str, FindingSummary] = {}
    for new in (*of_flags, *_of_volumes(frame, flags), *map(_of_finding, beside)):
        old = by_rule.get(new.rule)
        by_rule[new.rule] = new if old is None else _merged(old, new)
    return tuple(sorted(by_rule.values(), key=lambda summary: RULE_IDS.index(summary.rule)))


def _of_volumes(frame: pl.DataFrame, flags: Flags) -> Iterator[FindingSummary]:
    # A null that is not flagged was declared.
    if not frame["volume"].null_count() or MISSING_VOLUME in flags.rules():
        return
    ts = stamps(frame)[frame["volume"].is_null().to_numpy()]
    yield FindingSummary(NO_VOLUME, RULES[NO_VOLUME].severity, len(ts), int(ts[0]), int(ts[-1]))


def _of_finding(finding: Finding) -> FindingSummary:
    return FindingSummary(
        finding.rule,
        finding.severity,
        finding.count,
        finding.first_ts,
        finding.last_ts,
        finding.accepted,
    )


def _merged(old: FindingSummary, new: FindingSummary) -> FindingSummary:
    return replace(
        old,
        count=old.count + new.count,
        first_ts=min(old.first_ts, new.first_ts),
        last_ts=max(old.last_ts, new.last_ts),
        accepted=old.accepted + new.accepted,
    )
