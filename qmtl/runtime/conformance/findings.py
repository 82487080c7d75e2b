"""A finding: one rule, how often it was broken, where, and a sample of the rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from qmtl.foundation.frames import TS, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import iso, to_ns
from qmtl.runtime.conformance.rules import DAMAGED, REPLACED, RULE_IDS, RULES, Severity

# Rows of a finding that are shown; the flags hold all of them.
SAMPLE_ROWS = 5


@dataclass(frozen=True, eq=False)
class Finding:
    """What one rule found.

    count: bars (for rules of frequency: cells). fraction: of the rows (cells) that were checked.
    first_ts, last_ts: int nanoseconds UTC of the first and last bar named. sample: up to 5 rows of
    BAR_SCHEMA columns, or `start`, `end` for spans. accepted: how many of `count` no longer raise.
    """

    rule: str
    severity: Severity
    count: int
    fraction: float
    first_ts: int
    last_ts: int
    sample: pl.DataFrame
    accepted: int = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Finding) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]  # it holds a frame

    @property
    def raises(self) -> int:
        """How many of the bars make a fetch raise."""
        return 0 if self.severity == "info" else self.count - self.accepted

    def to_json(self) -> dict[str, Any]:
        """JSON values; times are ISO 8601 UTC."""
        rule = RULES[self.rule]
        return {
            "rule": self.rule,
            "severity": self.severity,
            "meaning": rule.meaning,
            "advice": rule.advice,
            "count": self.count,
            "accepted": self.accepted,
            "fraction": self.fraction,
            "first_ts": iso(self.first_ts),
            "last_ts": iso(self.last_ts),
            "sample": _rows_to_json(self.sample),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Finding:
        return cls(
            values["rule"],
            values["severity"],
            values["count"],
            values["fraction"],
            to_ns(values["first_ts"]),
            to_ns(values["last_ts"]),
            _rows_from_json(values["sample"]),
            values["accepted"],
        )

    def __repr__(self) -> str:
        share = f" ({self.fraction:.2%})" if self.fraction < 1 else ""
        accepted = f", {self.accepted:,} accepted" if self.accepted else ""
        where = iso(self.first_ts) if self.count == 1 else f"{iso(self.first_ts)} .. {iso(self.last_ts)}"
        return f"{self.severity:<8}{self.rule}: {self.count:,}{share} at {where}{accepted}"


def row_finding(rule: str, rows: pl.DataFrame, *, total: int, accepted: int = 0) -> Finding:
    """The finding of one rule about some rows (with `ts`, sorted, at least one) of `total` rows."""
    ts = stamps(rows)
    return Finding(
        rule,
        RULES[rule].severity,
        rows.height,
        rows.height / max(total, 1),
        int(ts[0]),
        int(ts[-1]),
        rows.head(SAMPLE_ROWS),
        accepted,
    )


def cell_finding(rule: str, cells: Coverage, grid: Grid, *, total: int, accepted: int = 0) -> Finding:
    """The finding of one rule about some cells (not empty) of `total` bars."""
    count = grid.count(cells)
    bounds = cells.spans[:SAMPLE_ROWS]
    sample = pl.DataFrame(
        {"start": [s for s, _ in bounds], "end": [e for _, e in bounds]},
        schema={"start": pl.Int64, "end": pl.Int64},
    ).cast(TS)
    last_ts = grid.floor(cells.hull.end - 1)
    return Finding(
        rule, RULES[rule].severity, count, count / max(total, 1), cells.hull.start, last_ts, sample, accepted
    )


def replaced_findings(replaced: pl.DataFrame, *, total: int) -> list[Finding]:
    """The finding about the rows of a `Commit.replaced`; none if it is empty."""
    return [row_finding(REPLACED, replaced.sort("ts"), total=total)] if replaced.height else []


def damage_findings(damaged: Coverage, grid: Grid, span: Span) -> list[Finding]:
    """The finding about bars of `span` that the store has lost; none if it lost none."""
    return [cell_finding(DAMAGED, damaged, grid, total=grid.count(Coverage.of(span)))] if damaged else []


def quarantine_findings(quarantine: pl.DataFrame, *, total: int) -> list[Finding]:
    """One finding per `rule` of quarantined rows."""
    return [
        row_finding(rule, quarantine.filter(pl.col("rule") == rule).sort("ts"), total=total)
        for rule in RULE_IDS
        if (quarantine["rule"] == rule).any()
    ]


def merge_findings(findings: Iterable[Finding]) -> list[Finding]:
    """One finding per rule, merged from the findings of several parts of one answer."""
    by_rule: dict[str, Finding] = {}
    for new in findings:
        old = by_rule.get(new.rule)
        by_rule[new.rule] = new if old is None else _merge_pair(*sorted((old, new), key=lambda f: f.first_ts))
    return list(by_rule.values())


def _merge_pair(first: Finding, second: Finding) -> Finding:
    count = first.count + second.count
    total = first.count / first.fraction + second.count / second.fraction
    return Finding(
        first.rule,
        first.severity,
        count,
        count / total,
        first.first_ts,
        max(first.last_ts, second.last_ts),
        pl.concat([first.sample, second.sample], how="diagonal").head(SAMPLE_ROWS),
        first.accepted + second.accepted,
    )


def sort_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first, then warnings, then infos: the order of the catalogue."""
    return tuple(sorted(findings, key=lambda finding: RULE_IDS.index(finding.rule)))


def _rows_to_json(sample: pl.DataFrame) -> list[dict[str, Any]]:
    times = [name for name, dtype in sample.schema.items() if isinstance(dtype, pl.Datetime)]
    plain = sample.with_columns(pl.col(name).to_physical() for name in times)
    rows = plain.to_dicts()
    return [{name: _json_value(value, name in times) for name, value in row.items()} for row in rows]


def _json_value(value: Any, is_time: bool) -> Any:
    if is_time:
        return None if value is None else iso(value)
    # JSON has no NaN and no infinity; they are written by name.
    if isinstance(value, float) and value - value != 0:
        return str(value)
    return value


def _rows_from_json(rows: list[dict[str, Any]]) -> pl.DataFrame:
    if not rows:
        return pl.DataFrame()
    columns: dict[str, pl.Series] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name in ("ts", "start", "end"):
            columns[name] = pl.Series(name, [to_ns(value) for value in values], dtype=pl.Int64).cast(TS)
        elif any(isinstance(value, str) for value in values) and name != "rule":
            columns[name] = pl.Series(
                name, [None if value is None else float(value) for value in values], dtype=pl.Float64
            )
        else:
            columns[name] = pl.Series(
                name, values, dtype=pl.Float64 if set(map(type, values)) <= {float, type(None)} else None
            )
    return pl.DataFrame(columns)
