"""What was found in one answer, bound to the data, schema and rules that were checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from qmtl.foundation.frames import stamps
from qmtl.foundation.html import escaped
from qmtl.foundation.pickled import pickled
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import BarStates
from qmtl.foundation.texts import on_screen
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import iso, to_ns
from qmtl.foundation.words import counted
from qmtl.runtime.conformance.acceptance import Accepted, unaccepted
from qmtl.runtime.conformance.digest import Trend, digest
from qmtl.runtime.conformance.findings import Finding as Finding
from qmtl.runtime.conformance.findings import cell_finding, merge_findings, row_finding, sort_findings
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.conformance.rules import MISSING_VOLUME, NO_VOLUME, RULES, Thresholds, ruleset

if TYPE_CHECKING:  # loaded by the first report
    from qmtl.runtime.conformance.rollup import Rollup

# The name of what could not be checked, where a registered schema or a part of it could not be applied.
SCHEMA = "schema"

_WHY_UNCHECKED = "too few rows around to know their rhythm, or a holiday that the calendar may not know"


class Unchecked(NamedTuple):
    """A rule that could not judge everything: how many bars, and why."""

    rule: str
    bars: int
    why: str


class Heal(NamedTuple):
    """Cells that were requested again within one fetch, and those of them that are no longer suspicious."""

    asked: Coverage
    healed: Coverage

    @property
    def left(self) -> Coverage:
        return self.asked - self.healed


@dataclass(frozen=True, eq=False)
class ConformanceReport:
    """The findings of one answer, errors first.

    span: of the answer, aligned to the grid. digest: rule to trend against the report compared with.
    fingerprint: of the rows checked. as_of: commit time in ns, None for rows that are not in a store.
    ruleset: which rules and thresholds. schema_id: subject and version of the schema rows were checked
    against.
    """

    series: SeriesId
    span: Span
    rollup: Rollup
    findings: tuple[Finding, ...]
    digest: Mapping[str, Trend]
    fingerprint: str
    as_of: int | None
    ruleset: str
    schema_id: str
    could_not_check: tuple[Unchecked, ...] = ()
    heal: Heal | None = None

    @property
    def address(self) -> str:
        """The address that resolves to the newest report of this series."""
        return self.series.address

    @property
    def errors(self) -> int:
        """Bars that break an error rule: refused and never stored, or found among the rows."""
        return self._raising("error")

    @property
    def warnings(self) -> int:
        """Bars that break a warning rule and were not accepted."""
        return self._raising("warning")

    @property
    def passes(self) -> bool:
        return self.errors == 0 and self.warnings == 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ConformanceReport) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]  # it holds frames

    def __reduce__(self) -> tuple[Any, ...]:
        return pickled(ConformanceReport, *(getattr(self, part.name) for part in fields(self)))

    def _raising(self, severity: str) -> int:
        return sum(finding.raises for finding in self.findings if finding.severity == severity)

    def to_json(self) -> dict[str, Any]:
        """JSON values; times are ISO 8601 UTC."""
        return {
            "address": self.address,
            "series": self.series.text,
            "span": _span_to_json(self.span),
            "errors": self.errors,
            "warnings": self.warnings,
            "findings": [finding.to_json() for finding in self.findings],
            "could_not_check": [item._asdict() for item in self.could_not_check],
            "digest": dict(self.digest),
            "rollup": self.rollup.to_json(),
            "heal": None
            if self.heal is None
            else {
                name: [_span_to_json(s) for s in getattr(self.heal, name)] for name in (*Heal._fields, "left")
            },
            "fingerprint": self.fingerprint,
            "as_of": None if self.as_of is None else iso(self.as_of),
            "ruleset": self.ruleset,
            "schema_id": self.schema_id,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ConformanceReport:
        """The report that `to_json` was called on."""
        from qmtl.runtime.conformance.rollup import Rollup

        heal, as_of = values["heal"], values["as_of"]
        return cls(
            series=SeriesId.parse(values["series"]),
            span=_span_from_json(values["span"]),
            rollup=Rollup.from_json(values["rollup"]),
            findings=tuple(map(Finding.from_json, values["findings"])),
            digest=dict(values["digest"]),
            fingerprint=values["fingerprint"],
            as_of=None if as_of is None else to_ns(as_of),
            ruleset=values["ruleset"],
            schema_id=values["schema_id"],
            could_not_check=tuple(Unchecked(**item) for item in values["could_not_check"]),
            heal=None
            if heal is None
            else Heal(*(Coverage(map(_span_from_json, heal[name])) for name in Heal._fields)),
        )

    def __repr__(self) -> str:
        rows = self.rollup.temporal.rows
        lines = [f"ConformanceReport({self.series} {self.span}: {counted(rows, 'row')}, {self._outcome()})"]
        lines += [f"  {finding!r}{self._trend(finding.rule)}" for finding in self.findings]
        lines += [f"  resolved {rule}" for rule, trend in self.digest.items() if trend == "resolved"]
        lines += [
            f"  could not check {item.rule}: {counted(item.bars, 'bar')}, {item.why}"
            for item in self.could_not_check
        ]
        return on_screen(lines)

    def _repr_html_(self) -> str:
        head = "".join(
            f"<th>{name}</th>" for name in ("severity", "rule", "bars", "first", "last", "trend", "meaning")
        )
        rows = "".join(
            "<tr>" + "".join(f"<td>{escaped(str(cell))}</td>" for cell in cells) + "</tr>"
            for cells in self._table()
        )
        title = f"{escaped(str(self.series))} {self.span}: {self._outcome()}"
        return f"<p><b>{title}</b></p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def _outcome(self) -> str:
        if self.passes:
            return "passes"
        return f"{counted(self.errors, 'error')}, {counted(self.warnings, 'warning')}"

    def _trend(self, rule: str) -> str:
        return f" [{self.digest[rule]}]" if rule in self.digest else ""

    def _table(self) -> Iterator[tuple[object, ...]]:
        for finding in self.findings:
            yield (
                finding.severity,
                finding.rule,
                f"{finding.count:,}",
                iso(finding.first_ts),
                iso(finding.last_ts),
                self.digest.get(finding.rule, ""),
                RULES[finding.rule].meaning,
            )


def build_report(
    *,
    series: SeriesId,
    frame: pl.DataFrame,
    states: BarStates,
    flags: Flags,
    fingerprint: str,
    as_of: int | None,
    thresholds: Thresholds,
    previous: Mapping[str, Any] | None,
    accepted: tuple[Accepted, ...],
    heal: Heal | None,
    more: tuple[Finding, ...],
    schema_id: str,
    unchecked: tuple[Unchecked, ...],
) -> ConformanceReport:
    """The report of an answer; the arguments are those of `ConformancePipeline.report`."""
    from qmtl.runtime.conformance.rollup import rollup

    grid = states.grid
    silent = {rule: cells & states.no_trade for rule, cells in flags.spans.items()}
    unchecked_cells = {rule: cells & states.no_trade for rule, cells in flags.unchecked.items()}
    flags = flags.filter(np.ones(len(flags.ts), dtype=bool), silent)
    raising = unaccepted(flags, accepted, frame) if accepted else flags
    found = [*_flag_findings(frame, flags, raising, states), *_volume_findings(frame, flags), *more]
    findings = sort_findings(merge_findings(found))
    could_not_check = (
        *(
            Unchecked(rule, grid.count(cells), _WHY_UNCHECKED)
            for rule, cells in unchecked_cells.items()
            if cells
        ),
        *unchecked,
    )
    return ConformanceReport(
        series=series,
        span=states.span,
        rollup=rollup(frame, states, flags),
        findings=findings,
        digest=digest(findings, states.span, previous, {item.rule for item in could_not_check}),
        fingerprint=fingerprint,
        as_of=as_of,
        ruleset=ruleset(thresholds),
        schema_id=schema_id,
        could_not_check=could_not_check,
        heal=heal,
    )


def _flag_findings(frame: pl.DataFrame, flags: Flags, raising: Flags, states: BarStates) -> Iterator[Finding]:
    ts = stamps(frame)
    for rule in flags.rules():
        if rule in flags.spans:
            cells = flags.spans[rule]
            total = states.grid.count(states.present | states.no_trade)
            accepted = states.grid.count(cells) - states.grid.count(raising.spans.get(rule, EMPTY))
            yield cell_finding(rule, cells, states.grid, total=total, accepted=accepted)
        else:
            flagged = flags.stamps(rule)
            # Flags hold unique stamps per rule, in order, and each has its row.
            rows = frame[np.searchsorted(ts, flagged)]
            yield row_finding(
                rule, rows, total=frame.height, accepted=len(flagged) - len(raising.stamps(rule))
            )


def _volume_findings(frame: pl.DataFrame, flags: Flags) -> Iterable[Finding]:
    # A null that is not flagged was declared.
    if not frame["volume"].null_count() or MISSING_VOLUME in flags.rules():
        return []
    return [row_finding(NO_VOLUME, frame.filter(pl.col("volume").is_null()), total=frame.height)]


def _span_to_json(span: Span) -> dict[str, str]:
    return {"start": iso(span.start), "end": iso(span.end)}


def _span_from_json(values: Mapping[str, str]) -> Span:
    return Span(to_ns(values["start"]), to_ns(values["end"]))
