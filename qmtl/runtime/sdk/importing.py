"""A file of bars becomes part of the store: the whole file, or nothing of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NoReturn, Unpack

import polars as pl

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.errors import ConformancePipelineError, InvalidRequestError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.fingerprint import fingerprint
from qmtl.foundation.frames import stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import bar_states
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import iso
from qmtl.runtime.conformance.findings import Finding, of_replaced
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.report import ConformanceReport
from qmtl.runtime.conformance.screen import Screened, screen
from qmtl.runtime.conformance.stretch import CONTEXT
from qmtl.runtime.coordination.backfill import Rules, judge_answer
from qmtl.runtime.io.bar_files import BarFile, ReadingOptions, read_bar_file
from qmtl.runtime.io.store.base import Commit, SeriesStore, Write
from qmtl.runtime.sdk.declared import Declared

Holes = Literal["unknown", "no_trade"]


@dataclass(frozen=True, eq=False)
class ImportResult:
    """What an import brought.

    rows: in the file. added, unchanged, replaced: what became of those that could be stored.
    quarantined: impossible rows that were kept aside (only with `partial_ok`).
    span: the range that the file speaks of; `counts` tells the bars of each of the five states within it, as
        the store knows them now.
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
    counts: Mapping[str, int]
    as_of: int
    notes: tuple[str, ...]
    report: ConformanceReport

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
            "coverage": dict(self.counts),
            "as_of": iso(self.as_of),
            "findings": [finding.to_json() for finding in self.findings],
            "notes": list(self.notes),
        }


def import_file(
    store: SeriesStore,
    path: str | Path,
    series: SeriesId | str,
    *,
    calendar: str | None = None,
    answered: Span | None = None,
    holes: Holes = "unknown",
    partial_ok: bool = False,
    declared: Declared | None = None,
    pipeline: ConformancePipeline | None = None,
    rules: Rules | None = None,
    clock: Clock | None = None,
    **options: Unpack[ReadingOptions],
) -> ImportResult:
    """Read, check and commit a file, in one commit.

    calendar: declared of the series, in the store, as is `columns="volume="` (the source has no volume).
    answered: the range `[start, end)` that the file speaks for: bars in it without a row did not trade.
    holes: what a bar between the first and the last row is, if it has none: "unknown" (silence in a file
        proves nothing) or "no_trade".
    partial_ok: send impossible rows, and different rows for one bar, to quarantine instead of refusing the
        file; their bars stay unknown.
    declared: what settings and Python declare of series; calendars of the user's own are found there.
    options: how the file is to be read; see `ReadingOptions`.

    Raises `InvalidRequestError` for a file or an option that cannot be used, and
    `ConformancePipelineError` for impossible rows; samples in its report carry the number of the `line`.
    Warnings do not stop an import; they are in the report, which is archived if the commit changed data.
    """
    series = SeriesId.parse(series) if isinstance(series, str) else series
    declared = declared or Declared(store, {})
    pipeline = pipeline or ConformancePipeline()
    now = (clock or SystemClock()).now()
    _check_claim(series, answered, holes, now)
    file = read_bar_file(path, timeframe=series.timeframe, **options)
    stored = store.facts(series)
    news = SeriesFacts(calendar=calendar, has_volume=file.has_volume)
    facts = _joined(series, declared.combined(series, stored), news)
    grid = declared.grid(series, facts)
    if options.get("label") == "close" and not grid.is_uniform:
        raise InvalidRequestError(
            "bars that are anchored to their sessions cannot be read by their close",
            series=series,
            why="the last bar of a session may be cut short, so that its open does not follow from its close",
            next_step="write the open of each bar into the file",
        )
    judged = _judge(series, file, grid, facts, answered, holes, now, rules or Rules())
    if judged.screened.quarantine.height and not partial_ok:
        _refuse(judged, pipeline)
    if news != SeriesFacts():
        store.declare(series, _joined(series, stored or SeriesFacts(), news))
        declared.forget(series)
    commit = store.commit(series, judged.write)
    report = _report(store, pipeline, judged, commit, now)
    if commit.added or commit.replaced.height:
        store.archive_report(series, report.to_json())
    return ImportResult(
        series=series,
        path=str(path),
        rows=file.frame.height,
        added=commit.added,
        unchanged=commit.unchanged,
        replaced=commit.replaced.height,
        quarantined=judged.screened.quarantine.height,
        span=judged.span,
        counts=dict(report.rollup.temporal.states),
        as_of=commit.as_of,
        notes=file.notes,
        report=report,
    )


@dataclass(frozen=True)
class _Judged:
    """A file, sorted out: the range it speaks of, and what it would write."""

    series: SeriesId
    file: BarFile
    grid: Grid
    facts: SeriesFacts
    span: Span
    screened: Screened
    write: Write


def _judge(
    series: SeriesId,
    file: BarFile,
    grid: Grid,
    facts: SeriesFacts,
    answered: Span | None,
    holes: Holes,
    now: int,
    rules: Rules,
) -> _Judged:
    ts = stamps(file.frame)
    first, last = int(ts.min()), int(ts.max())
    screened = screen(
        file.frame.with_columns(pl.Series("line", file.lines)),
        grid=grid,
        facts=facts,
        within=Span(first, last + 1),
        now=now,
        keep=("line",),
    )
    span = Span(grid.floor(first), grid.after(grid.floor(last)))
    if answered is not None:
        span = Span(min(span.start, grid.floor(answered.start)), max(span.end, grid.ceil(answered.end)))
    write = judge_answer(
        replace(screened, quarantine=screened.quarantine.drop("line", strict=False)),
        _said(screened, grid, answered, holes),
        EMPTY,
        grid=grid,
        now=now,
        rules=rules,
        source=f"file:{file.path.name}",
    )
    return _Judged(series, file, grid, facts, span, screened, write)


def _check_claim(series: SeriesId, answered: Span | None, holes: Holes, now: int) -> None:
    if holes not in ("unknown", "no_trade"):
        raise InvalidRequestError(f"holes {holes!r} are neither 'unknown' nor 'no_trade'", series=series)
    if answered is None:
        return
    if holes == "no_trade":
        raise InvalidRequestError(
            "`answered=` and `holes='no_trade'` are two answers to one question",
            series=series,
            next_step="give one of them: `answered=` names the range, `holes=` takes the file's own",
        )
    if answered.end > now:
        raise InvalidRequestError(
            "a file cannot answer for the future",
            series=series,
            span=answered,
            why=f"it is {iso(now)}",
            next_step="let `answered=` end when the file was written",
        )


def _joined(series: SeriesId, earlier: SeriesFacts, news: SeriesFacts) -> SeriesFacts:
    """Earlier facts and those of the import. Raises `InvalidRequestError` where they disagree."""
    if news.calendar is not None and earlier.calendar not in (None, news.calendar):
        raise InvalidRequestError(
            "the calendar of a series is declared twice, and differently",
            series=series,
            why=f"it was declared {earlier.calendar!r}, and this import says {news.calendar!r}",
            next_step=f"leave out `calendar=`, or: qmtl store declare {series} --calendar {news.calendar}",
        )
    return replace(
        earlier,
        calendar=news.calendar or earlier.calendar,
        has_volume=earlier.has_volume and news.has_volume,
    )


def _said(screened: Screened, grid: Grid, answered: Span | None, holes: Holes) -> Coverage:
    """The range that the file answers for: the cells of its rows, and what a person says beyond them."""
    cells = grid.cells(stamps(screened.clean))
    if holes == "no_trade":
        both = cells | screened.retracted
        return Coverage.of(both.hull) if both else EMPTY
    return cells if answered is None else cells | Coverage.of(answered)


def _report(
    store: SeriesStore, pipeline: ConformancePipeline, judged: _Judged, commit: Commit, now: int
) -> ConformanceReport:
    """What the store holds of the range after the commit, judged beside its neighbours."""
    series, grid, span = judged.series, judged.grid, judged.span
    snapshot = store.read(series, span, as_of=commit.as_of, context=CONTEXT)
    frame = snapshot.frame
    return pipeline.report(
        series=series,
        frame=frame,
        states=bar_states(span, grid, stamps(frame), snapshot.answered, snapshot.absent(now)),
        flags=pipeline.flag(snapshot.rows, grid=grid, facts=judged.facts).clip(span),
        fingerprint=fingerprint(frame),
        as_of=commit.as_of,
        previous=store.baseline_report(series),
        accepted=store.accepted(series),
        findings=(*judged.screened.findings, *of_replaced(commit.replaced, among=frame.height)),
    )


def _refuse(judged: _Judged, pipeline: ConformancePipeline) -> NoReturn:
    """Raise with the report of the file's own rows alone, bound to no commit."""
    file, screened, clean = judged.file, judged.screened, judged.screened.clean
    report = pipeline.report(
        series=judged.series,
        frame=clean,
        states=bar_states(judged.span, judged.grid, stamps(clean), judged.write.answered, EMPTY),
        flags=pipeline.flag(clean, grid=judged.grid, facts=judged.facts).clip(judged.span),
        fingerprint=fingerprint(clean),
        as_of=None,
        findings=screened.findings,
    )
    by_rule = []
    for finding in screened.findings:
        if finding.severity == "error":
            lines = ", ".join(map(str, finding.sample["line"].to_list()))
            more = ", ..." if finding.count > finding.sample.height else ""
            by_rule.append(f"{finding.rule} at {file.place} {lines}{more}")
    bad, rows = screened.quarantine.height, file.frame.height
    raise ConformancePipelineError(
        f"{file.name}: {bad:,} of {rows:,} rows are impossible; nothing was imported",
        report=report,
        series=judged.series,
        span=judged.span,
        why="; ".join(by_rule),
        next_step="mend the file, or keep these rows aside with `partial_ok=True`: their bars stay unknown",
    )
