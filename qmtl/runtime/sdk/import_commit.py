"""A file that was judged becomes part of the store, and is reported on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import InvalidRequestError, QmtlError
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import BarStates
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import iso
from qmtl.runtime.conformance.findings import Finding, damage_findings, replaced_findings
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.report import ConformanceReport
from qmtl.runtime.io.coverage_scan import scan_coverage
from qmtl.runtime.io.evaluate import evaluate
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.values import Commit, Write, refuse_unarchived
from qmtl.runtime.sdk.declaring import try_declaration
from qmtl.runtime.sdk.range_report import report_on
from qmtl.runtime.sdk.schema_enforcer import SchemaEnforcer
from qmtl.runtime.sdk.staged_import import JudgedFile, OnStage


@dataclass(frozen=True, eq=False)
class ImportResult:
    """What an import brought.

    rows: in the file. added, unchanged, replaced: what became of those that could be stored.
    quarantined: impossible rows that were kept aside (only with `partial_ok`).
    span: the range that the file speaks of. states: of its bars, as the store knows them now.
    as_of: the commit, in ns. at_risk: why a loss of power may take a part of it, see `Commit`.
    notes: what a person should know, and is no finding.
    """

    series: SeriesId
    path: str
    rows: int
    added: int
    unchanged: int
    replaced: int
    quarantined: int
    span: Span
    states: BarStates
    as_of: int
    notes: tuple[str, ...]
    report: ConformanceReport
    at_risk: str | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Bars in each of the five states."""
        return self.states.counts

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the rules say of the range, errors first; errors name quarantined rows."""
        return self.report.findings

    def to_json(self) -> dict[str, Any]:
        """JSON values; times are ISO 8601 UTC, the range is half-open."""
        return {
            "series": self.series.text,
            "file": self.path,
            "rows": self.rows,
            "added": self.added,
            "unchanged": self.unchanged,
            "replaced": self.replaced,
            "quarantined": self.quarantined,
            "range": {"start": iso(self.span.start), "end": iso(self.span.end)},
            "coverage": self.counts,
            "holes": {
                name: [[iso(start), iso(end)] for start, end in cells]
                for name, cells in (("unknown", self.states.unknown), ("absent", self.states.absent))
                if cells
            },
            "as_of": iso(self.as_of),
            "at_risk": self.at_risk,
            "findings": [finding.to_json() for finding in self.findings],
            "notes": list(self.notes),
        }


def commit_file(
    store: Store,
    judged: JudgedFile,
    *,
    pipeline: ConformancePipeline,
    schemas: SchemaEnforcer,
    clock: Clock,
    on_stage: OnStage | None = None,
) -> ImportResult:
    """Commit what was judged, and report on what the store holds then.

    Raises `InvalidRequestError` if something else was declared of the series since it was judged, or if
    bars that are stored could not be read by what the file declares.
    """
    series = judged.series
    show: OnStage = on_stage or (lambda *_: None)
    show("writing", 0, None)
    if store.facts(series) != judged.stored:
        raise InvalidRequestError(
            "the series was declared anew while the file was read",
            series=series,
            next_step="import the file again",
        )
    try_declaration(store, series, judged.grid, judged.facts, judged.stored)
    commit = store.commit(series, _sparing_stored(store, series, judged.grid, judged.take()))
    show("writing", 1, 1)
    try:
        return _reported(store, judged, commit, pipeline=pipeline, schemas=schemas, clock=clock, show=show)
    except QmtlError as error:
        kept = f"the rows of the file are stored, as of {iso(commit.as_of)}; what failed came after that"
        error.why = f"{error.why}; {kept}" if error.why else kept
        error.next_step = "import the file again for its report; rows that are stored are not stored twice"
        raise


def _sparing_stored(store: Store, series: SeriesId, grid: Grid, write: Write) -> Write:
    """A bar that is stored keeps its row and its answer if the row of the file is impossible."""
    if not write.retracted:
        return write
    stored = scan_coverage(store, series, write.retracted.hull, grid, now=write.checked_at).present
    return replace(write, retracted=write.retracted - stored)


def _reported(
    store: Store,
    judged: JudgedFile,
    commit: Commit,
    *,
    pipeline: ConformancePipeline,
    schemas: SchemaEnforcer,
    clock: Clock,
    show: OnStage,
) -> ImportResult:
    """What became of a file that is committed: counted, reported on, and archived."""
    series = judged.series
    changed = bool(commit.added or commit.replaced.height)
    # An impossible row, which is kept aside, is a failure even if its values fit the schema.
    failed = judged.broken + judged.quarantined
    schemas.observe(judged.binding, checked=judged.rows, failed=failed, changed=changed or failed > 0)
    schemas.flush()
    show("checking", 0, None)
    evaluated = evaluate(
        store,
        pipeline,
        series,
        judged.span,
        grid=judged.grid,
        facts=judged.facts,
        schema=None,  # what breaks it is among the findings of the file
        now=clock.now(),
        as_of=commit.as_of,
    )
    replaced = replaced_findings(commit.replaced, total=evaluated.frame.height)
    damage = damage_findings(evaluated.damaged, judged.grid, judged.span)
    report = report_on(evaluated, pipeline, store, judged.binding, (*judged.findings, *damage, *replaced))
    if changed:
        refuse_unarchived(series, store.archive_report(series, report.to_json()))
    show("checking", 1, 1)
    return ImportResult(
        series=series,
        path=str(judged.path),
        rows=judged.rows,
        added=commit.added,
        unchanged=commit.unchanged,
        replaced=commit.replaced.height,
        quarantined=judged.quarantined,
        span=judged.span,
        states=evaluated.states,
        as_of=commit.as_of,
        notes=judged.notes,
        report=report,
        at_risk=commit.at_risk,
    )
