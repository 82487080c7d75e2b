"""Whether an input can be relied on now: coverage, freshness, conformance, schema, each with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from qmtl.foundation.states import BarStates
from qmtl.foundation.times import DAY, SECOND
from qmtl.foundation.words import counted
from qmtl.runtime.worlds.world import WorldPreset

Outcome = Literal["ok", "warn", "fail"]
SUBJECTS = ("vendor", "coverage", "freshness", "conformance", "schema")

# How many series a reason names.
_NAMED = 3


class Known(NamedTuple):
    """What is known of one series when it is looked at.

    states: of its history. report: the newest in the archive. schema: the name of its schema (`ohlcv:1`),
    unchecked: why it cannot be checked. vendor: who serves it; unserved: why nobody does.
    """

    series: str
    states: BarStates
    report: dict[str, Any] | None
    schema: str
    mode: str
    unchecked: str | None
    vendor: str | None
    unserved: str | None = None


class Check(NamedTuple):
    """One thing that was looked at. `fail`: an input of this preset should not be used as it is."""

    subject: str
    outcome: Outcome
    why: str


def readiness(preset: WorldPreset, known: Sequence[Known]) -> list[Check]:
    """What holds of all series of an input together."""
    return [
        _vendor(known),
        _coverage(preset, known),
        _freshness(preset, known),
        _conformance(preset, known),
        _schema(known),
    ]


def _vendor(known: Sequence[Known]) -> Check:
    lacking = [one for one in known if one.vendor is None]
    if lacking:
        return Check("vendor", "fail", f"nobody serves {_names(lacking)}: {lacking[0].unserved}")
    return Check("vendor", "ok", ", ".join(dict.fromkeys(str(one.vendor) for one in known)))


def _coverage(preset: WorldPreset, known: Sequence[Known]) -> Check:
    unknown = sum(one.states.counts["unknown"] for one in known)
    absent = sum(one.states.counts["absent"] for one in known)
    if not unknown and not absent:
        bars = sum(one.states.counts["present"] for one in known)
        quiet = sum(one.states.counts["no_trade"] for one in known)
        beside = f", {quiet:,} without a trade" if quiet else ""
        return Check("coverage", "ok", f"{counted(bars, 'bar')}{beside}: all that is expected")
    lacking = [one for one in known if one.states.counts["unknown"] or one.states.counts["absent"]]
    parts = []
    if unknown:
        parts.append(f"{counted(unknown, 'bar')} nobody has answered for; 'qmtl world apply' asks for them")
    if absent:
        parts.append(f"{counted(absent, 'bar')} that the source says it has not")
    outcome: Outcome = "warn" if preset.sla.partial_ok else "fail"
    return Check("coverage", outcome, f"{_names(lacking)}: {'; '.join(parts)}")


def _freshness(preset: WorldPreset, known: Sequence[Known]) -> Check:
    lags = {one.series: _lag(one.states) for one in known}
    worst = max(lags, key=lambda name: lags[name], default=None)
    if worst is None or lags[worst] == 0:
        return Check("freshness", "ok", "the newest bar that is due is there")
    limit = preset.live.max_lag
    why = f"{worst} trails by {_long(lags[worst])}"
    if limit is None:
        return Check("freshness", "ok", f"{why}, and no live.max_lag is set")
    if lags[worst] <= limit:
        return Check("freshness", "ok", f"{why}, and {limit:g} s are allowed")
    behind = [one for one in known if lags[one.series] > limit]
    outcome: Outcome = "warn" if preset.live.allow_partial and len(behind) < len(known) else "fail"
    why += f", and {limit:g} s are allowed: {len(behind):,} of {len(known):,} series are behind"
    return Check("freshness", outcome, why)


def _long(seconds: float) -> str:
    days = seconds * SECOND / DAY
    return f"{seconds:,.0f} s" if days < 2 else f"{days:,.0f} days"


def _lag(states: BarStates) -> float:
    """Seconds from the end of the newest bar that has an answer to the end of the newest expected one."""
    due = states.grid.expected(states.span)
    if not due:
        return 0.0
    answered = due - states.holes
    newest = answered.hull.end if answered else states.span.start
    return (due.hull.end - newest) / SECOND


def _conformance(preset: WorldPreset, known: Sequence[Known]) -> Check:
    judged = [one for one in known if one.report is not None]
    raising = [(one, list(_raising(one.report))) for one in judged]
    found = [(one, rules) for one, rules in raising if rules]
    if found:
        rules = ", ".join(dict.fromkeys(rule for _, some in found for rule in some))
        blocks = preset.conformance.on_findings == "raise"
        why = f"{_names([one for one, _ in found])}: {rules} in the newest report, not accepted"
        return Check("conformance", "fail" if blocks else "warn", f"{why} ({preset.conformance_preset})")
    if not judged:
        return Check("conformance", "warn", "nobody has judged these bars yet: 'qmtl world apply' does")
    rest = len(known) - len(judged)
    return Check(
        "conformance",
        "ok" if not rest else "warn",
        f"{counted(len(judged), 'newest report')} without a finding that raises"
        + (f", {rest:,} series without a report" if rest else ""),
    )


def _raising(report: dict[str, Any] | None) -> Iterable[str]:
    for finding in (report or {}).get("findings", ()):
        if finding["severity"] != "info" and finding["count"] > finding["accepted"]:
            yield finding["rule"]


def _schema(known: Sequence[Known]) -> Check:
    unchecked = [one for one in known if one.unchecked is not None]
    if unchecked:
        return Check("schema", "warn", f"{_names(unchecked)}: {unchecked[0].unchecked}")
    return Check("schema", "ok", ", ".join(dict.fromkeys(f"{one.schema}, {one.mode}" for one in known)))


def _names(some: Sequence[Known]) -> str:
    names = ", ".join(one.series for one in some[:_NAMED])
    return names if len(some) <= _NAMED else f"{names} and {len(some) - _NAMED:,} more"
