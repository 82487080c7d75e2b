"""A file of bars becomes part of the store: the whole file, or nothing of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import polars as pl

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.errors import InvalidRequestError, QmtlError
from qmtl.foundation.facts import Anchor
from qmtl.foundation.fingerprint import fingerprint
from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import BarStates, bar_states
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import iso
from qmtl.runtime.conformance.findings import Finding, of_damage, of_replaced
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.report import ConformanceReport
from qmtl.runtime.coordination.backfill import Rules
from qmtl.runtime.io.bar_files import ReadingOptions
from qmtl.runtime.io.bar_files.frames import polars_frame
from qmtl.runtime.io.judged import read_judged
from qmtl.runtime.io.store.base import Commit, SeriesStore
from qmtl.runtime.sdk.declared import Declared
from qmtl.runtime.sdk.declaring import try_declaration
from qmtl.runtime.sdk.import_target import Given, Into, opened_target
from qmtl.runtime.sdk.judging import Holes, JudgedFile, OnStage, judge_file
from qmtl.runtime.sdk.schemas import Schemas


@dataclass(frozen=True, eq=False)
class ImportResult:
    """What an import brought.

    rows: in the file. added, unchanged, replaced: what became of those that could be stored.
    quarantined: impossible rows that were kept aside (only with `partial_ok`).
    span: the range that the file speaks of. states: of its bars, as the store knows them now.
    as_of: the commit, in ns. notes: what a person should know, and is no finding.
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
            "findings": [finding.to_json() for finding in self.findings],
            "notes": list(self.notes),
        }


def import_file(
    into: Into,
    path: str | Path,
    series: SeriesId | str,
    *,
    calendar: str | None = None,
    anchor: Anchor | None = None,
    answered: Span | None = None,
    holes: Holes = "unknown",
    partial_ok: bool = False,
    declared: Declared | None = None,
    pipeline: ConformancePipeline | None = None,
    rules: Rules | None = None,
    clock: Clock | None = None,
    schemas: Schemas | None = None,
    on_stage: OnStage | None = None,
    **options: Unpack[ReadingOptions],
) -> ImportResult:
    """Read, check and commit a file, in one commit.

    into: a provider, a store, or the folder of a store, which is made once the file has passed.
    path: a file, a folder of files, or a pattern such as `data/2024-*.csv`; all of it is one import.
    calendar, anchor: declared of the series, in the store, as is `columns="volume="` (the source has no
        volume).
    answered: the range `[start, end)` that the file speaks for: bars in it without a row did not trade.
    holes: what a bar between the first and the last row is, if it has none: "unknown" (silence in a file
        proves nothing) or "no_trade".
    partial_ok: send impossible rows, and different rows for one bar, to quarantine instead of refusing the
        file; their bars stay unknown.
    declared: what settings and Python declare of series; calendars of the user's own are found there. Left
        out, what the provider knows; so are `pipeline`, `rules`, `clock` and `schemas`.
    schemas: what the rows are held to; left out, the schema that comes with this package.
    on_stage: told what is going on, and how much of it is done.
    options: how the file is to be read; see `ReadingOptions`.

    Raises `InvalidRequestError` for a file or an option that cannot be used, `SchemaValidationError` for rows
    that break their schema in strict mode, and `ConformancePipelineError` for impossible rows; samples in its
    report carry the number of the `line` (and the `file`, if there are several).
    Warnings do not stop an import; they are in the report, which is archived if the commit changed data.
    """
    return _import(
        into,
        path,
        series,
        Given(declared, pipeline, rules, clock, schemas),
        calendar=calendar,
        anchor=anchor,
        answered=answered,
        holes=holes,
        partial_ok=partial_ok,
        on_stage=on_stage,
        **options,
    )


def import_frame(
    into: Into,
    frame: Any,
    series: SeriesId | str,
    *,
    calendar: str | None = None,
    anchor: Anchor | None = None,
    answered: Span | None = None,
    holes: Holes = "unknown",
    partial_ok: bool = False,
    clock: Clock | None = None,
    **options: Unpack[ReadingOptions],
) -> ImportResult:
    """Check and commit a frame of bars, by the rules of `import_file`.

    frame: of polars, pandas (an index with a name or with times is a column) or Arrow; its rows count from 1
        in what is said of them.
    """
    return _import(
        into,
        polars_frame(frame),
        series,
        Given(None, None, None, clock, None),
        calendar=calendar,
        anchor=anchor,
        answered=answered,
        holes=holes,
        partial_ok=partial_ok,
        on_stage=None,
        **options,
    )


def _import(
    into: Into,
    source: str | Path | pl.DataFrame,
    series: SeriesId | str,
    given: Given,
    *,
    calendar: str | None,
    anchor: Anchor | None,
    answered: Span | None,
    holes: Holes,
    partial_ok: bool,
    on_stage: OnStage | None,
    **options: Unpack[ReadingOptions],
) -> ImportResult:
    series = SeriesId.parse(series) if isinstance(series, str) else series
    with opened_target(into, given) as target:
        judged = judge_file(
            target.stored,
            source,
            series,
            calendar=calendar,
            anchor=anchor,
            answered=answered,
            holes=holes,
            partial_ok=partial_ok,
            declared=target.declared,
            pipeline=target.pipeline,
            rules=target.rules,
            now=target.clock.now(),
            held=target.schemas.of(series),
            on_stage=on_stage,
            **options,
        )
        store, schemas = target.opened()
        result = commit_file(
            store,
            judged,
            pipeline=target.pipeline,
            schemas=schemas,
            clock=target.clock,
            on_stage=on_stage,
        )
        target.declared.forget(series)
    return result


def commit_file(
    store: SeriesStore,
    judged: JudgedFile,
    *,
    pipeline: ConformancePipeline,
    schemas: Schemas,
    clock: Clock | None = None,
    on_stage: OnStage | None = None,
) -> ImportResult:
    """Commit what was judged, and report on what the store holds then.

    Raises `InvalidRequestError` if something else was declared of the series since it was judged, or if
    bars that are stored could not be read by what the file declares.
    """
    series = judged.series
    tell: OnStage = on_stage or (lambda *_: None)
    if store.facts(series) != judged.stored:
        raise InvalidRequestError(
            "the series was declared anew while the file was read",
            series=series,
            next_step="import the file again",
        )
    try_declaration(store, series, judged.grid, judged.facts)
    tell("writing", 0, None)
    commit = store.commit(series, judged.take())
    tell("writing", 1, 1)
    try:
        return _reported(store, judged, commit, pipeline=pipeline, schemas=schemas, clock=clock, tell=tell)
    except QmtlError as error:
        kept = f"the rows of the file are stored, as of {iso(commit.as_of)}; what failed came after that"
        error.why = f"{error.why}; {kept}" if error.why else kept
        raise


def _reported(
    store: SeriesStore,
    judged: JudgedFile,
    commit: Commit,
    *,
    pipeline: ConformancePipeline,
    schemas: Schemas,
    clock: Clock | None,
    tell: OnStage,
) -> ImportResult:
    """What became of a file that is committed: counted, reported on, and archived."""
    series = judged.series
    changed = bool(commit.added or commit.replaced.height)
    # An impossible row, which is kept aside, is a failure whatever the schema says of its values.
    failed = judged.broken + judged.quarantined
    schemas.observe(judged.held, checked=judged.rows, failed=failed, changed=changed or failed > 0)
    schemas.flush()
    tell("checking", 0, None)
    states, report = _report(store, pipeline, judged, commit, (clock or SystemClock()).now())
    if changed:
        store.archive_report(series, report.to_json())
    tell("checking", 1, 1)
    return ImportResult(
        series=series,
        path=str(judged.path),
        rows=judged.rows,
        added=commit.added,
        unchanged=commit.unchanged,
        replaced=commit.replaced.height,
        quarantined=judged.quarantined,
        span=judged.span,
        states=states,
        as_of=commit.as_of,
        notes=judged.notes,
        report=report,
    )


def _report(
    store: SeriesStore, pipeline: ConformancePipeline, judged: JudgedFile, commit: Commit, now: int
) -> tuple[BarStates, ConformanceReport]:
    """What the store holds of the range after the commit, judged beside its neighbours."""
    series, grid, span = judged.series, judged.grid, judged.span
    snapshot, flags = read_judged(
        store, pipeline, series, span, grid=grid, facts=judged.facts, as_of=commit.as_of
    )
    frame = snapshot.frame
    states = bar_states(span, grid, stamps(frame), snapshot.answered, snapshot.absent(now), snapshot.damaged)
    report = pipeline.report(
        series=series,
        frame=frame,
        states=states,
        flags=flags,
        fingerprint=fingerprint(frame),
        as_of=commit.as_of,
        previous=store.baseline_report(series),
        accepted=store.accepted(series),
        findings=(
            *judged.findings,
            *of_damage(states.damaged, grid, span),
            *of_replaced(commit.replaced, among=frame.height),
        ),
        schema_id=judged.held.name,
    )
    return states, report
