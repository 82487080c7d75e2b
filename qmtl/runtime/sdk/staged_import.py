"""A file of bars, read and judged: what it would write, or why it is refused. Nothing is written here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, NoReturn, Unpack

import polars as pl

from qmtl.foundation.errors import ConformancePipelineError, InvalidRequestError
from qmtl.foundation.facts import Anchor, SeriesFacts
from qmtl.foundation.fingerprint import fingerprint
from qmtl.foundation.frames import stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.local_paths import local_path
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import bar_states
from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array, Span
from qmtl.foundation.times import iso
from qmtl.foundation.words import counted
from qmtl.runtime.conformance.findings import Finding
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.screen import Screened, screen
from qmtl.runtime.ingest.answers import write_of
from qmtl.runtime.ingest.settlement import SettlementPolicy
from qmtl.runtime.io.bar_files import BarFile, ReadingOptions, read_bar_files, read_bar_frame
from qmtl.runtime.io.bar_files.identity import contradicts
from qmtl.runtime.io.bar_files.options import Reading
from qmtl.runtime.io.bar_files.spacing import advice_on_spacing
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.fetch_errors import schema_error
from qmtl.runtime.sdk.off_grid import advice_off_grid, beside_grid
from qmtl.runtime.sdk.schema_enforcer import NO_SCHEMA, SchemaBinding, validate
from qmtl.runtime.sdk.series_declarations import SeriesDeclarations, StoredFacts

Holes = Literal["unknown", "no_trade"]

# What is going on, and how much of it is done; a total of None is not known.
OnStage = Callable[[str, int, int | None], None]


@dataclass(eq=False)
class JudgedFile:
    """A file that was read and judged.

    stored: what the store declared of the series when the file was judged. broken: how many of its rows break
    the schema that `binding` names.
    """

    series: SeriesId
    path: str
    grid: Grid
    facts: SeriesFacts
    stored: SeriesFacts | None
    span: Span
    rows: int
    quarantined: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    binding: SchemaBinding
    broken: int
    _write: Write | None

    def take(self) -> Write:
        """What is to be committed, once: its rows need not be in memory beside those that a report reads."""
        write, self._write = self._write, None
        assert write is not None  # nothing is committed twice
        return write


def judge_file(
    store: StoredFacts,
    source: str | Path | pl.DataFrame,
    series: SeriesId,
    *,
    calendar: str | None,
    anchor: Anchor | None = None,
    answered: Span | None,
    holes: Holes,
    partial_ok: bool,
    declared: SeriesDeclarations,
    pipeline: ConformancePipeline,
    settlement: SettlementPolicy,
    now: int,
    binding: SchemaBinding = NO_SCHEMA,
    on_stage: OnStage | None = None,
    **options: Unpack[ReadingOptions],
) -> JudgedFile:
    """Read a file and check its bars; see `import_file` for the options and the errors.

    source: a file, a folder, a pattern of files, or a frame.
    store: knows what is declared of the series. now: ns; what closes later is still forming. binding: the
        schema that its rows must have; in strict mode a file that breaks it is refused.
    """
    if not isinstance(source, pl.DataFrame):
        local_path(source, "a file of bars")
    _check_claim(series, answered, holes, now)
    reading = None if on_stage is None else partial(on_stage, "reading")
    stored = store.facts(series)
    has_volume = None if Reading.of(options).columns.has_volume else False
    news = SeriesFacts(calendar=calendar, anchor=anchor, has_volume=has_volume)
    facts = declared.combined(series, stored, news)
    grid = declared.grid(series, facts)
    timeframe, calendar_of = series.timeframe, grid.calendar
    if isinstance(source, pl.DataFrame):
        file = read_bar_frame(source, timeframe=timeframe, calendar=calendar_of, **options)
    else:
        file = read_bar_files(
            source, timeframe=timeframe, calendar=calendar_of, on_progress=reading, **options
        )
    if options.get("label") == "close" and not grid.is_uniform:
        raise InvalidRequestError(
            "bars that are anchored to their sessions cannot be read by their close",
            series=series,
            why="the last bar of a session may be cut short, so that its open does not follow from its close",
            next_step="write the open of each bar into the file",
        )
    ts = stamps(file.frame)
    first, last = int(ts.min()), int(ts.max())
    # A calendar that cannot be used is found before the file is committed, not by the report about it.
    grid.try_calendar(Span(first, last + 1))
    try:
        screened = screen(
            _with_places(file),
            grid=grid,
            facts=facts,
            within=Span(first, last + 1),
            now=now,
            keep=("line",) if file.file is None else ("line", "file"),
        )
    except InvalidRequestError as error:
        raise InvalidRequestError(
            f"{file.name}: {error.what}",
            series=series,
            span=Span(first, grid.after(grid.floor(last))),
            why=f"{error.why}; {near}" if (near := beside_grid(ts, grid)) else error.why,
            next_step=error.next_step,
        ) from error
    span = Span(grid.floor(first), grid.after(grid.floor(last)))
    if answered is not None:
        span = Span(min(span.start, grid.floor(answered.start)), max(span.end, grid.ceil(answered.end)))
        grid.try_calendar(span)
    write = write_of(
        replace(screened, quarantine=screened.quarantine.drop("line", "file", strict=False)),
        _answered_by(screened, grid, answered, holes),
        grid=grid,
        facts=facts,
        source=f"file:{file.source}",
        asked_at=now,
        settlement=settlement,
    )
    check = validate(screened.clean, binding)
    judged = JudgedFile(
        series=series,
        path=file.name,
        grid=grid,
        facts=facts,
        stored=stored,
        span=span,
        rows=file.frame.height,
        quarantined=screened.quarantine.height,
        findings=(*screened.findings, *check.findings(screened.clean)),
        notes=_contradictions(file, series) + _distance(ts, series) + file.notes,
        binding=binding,
        broken=check.failed_rows(screened.clean),
        _write=write,
    )
    if check.violations and binding.is_strict:
        raise schema_error(binding, check, screened.clean, series=series, span=span)
    if judged.quarantined and not partial_ok:
        _refuse(judged, file, screened, write.answered, pipeline, options.get("label", "open"))
    return judged


def _with_places(file: BarFile) -> pl.DataFrame:
    """The bars with the `line` of each and, if there are several files, the `file`."""
    bars = file.frame.with_columns(pl.Series("line", file.lines))
    if file.file is None:
        return bars
    names = pl.Series(file.files, dtype=pl.Enum(list(dict.fromkeys(file.files))))
    return bars.with_columns(names.gather(file.file.tolist()).alias("file"))


def _places(sample: pl.DataFrame, file: BarFile) -> str:
    """Where the rows of a sample stand, in words."""
    lines = sample["line"].to_list()
    if "file" not in sample.columns:
        return f"{file.place} {', '.join(map(str, lines))}"
    names = sample["file"].to_list()
    return ", ".join(f"{name} {file.place} {line}" for name, line in zip(names, lines, strict=True))


def _contradictions(file: BarFile, series: SeriesId) -> tuple[str, ...]:
    """Warnings of columns that say the rows are of another series."""
    return tuple(
        f"warning: column {column!r} says {value!r}, and the rows became {series}"
        for column, value in file.identities
        if contradicts(column, value, series)
    )


def _distance(ts: Int64Array, series: SeriesId) -> tuple[str, ...]:
    """A warning of rows that are much further apart than the bars of the series."""
    advice = advice_on_spacing(ts, series.timeframe)
    return () if advice is None else (f"warning: {advice}",)


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


def _answered_by(screened: Screened, grid: Grid, answered: Span | None, holes: Holes) -> Coverage:
    """The range that the file answers for: the cells of its rows, and what a person declares beyond them.

    Rows without any price count, too: nothing was traded in them.
    """
    cells = grid.cells(stamps(screened.clean)) | screened.no_trade
    if holes == "no_trade":
        both = cells | screened.retracted
        return Coverage.of(both.hull) if both else EMPTY
    return cells if answered is None else cells | Coverage.of(answered)


def _refuse(
    judged: JudgedFile,
    file: BarFile,
    screened: Screened,
    answered: Coverage,
    pipeline: ConformancePipeline,
    label: str,
) -> NoReturn:
    """Raise with the report of the file's own rows alone, bound to no commit."""
    clean = screened.clean
    report = pipeline.report(
        series=judged.series,
        frame=clean,
        states=bar_states(judged.span, judged.grid, stamps(clean), answered, EMPTY),
        flags=pipeline.flag(clean, grid=judged.grid, facts=judged.facts, answered=answered).clip(judged.span),
        fingerprint=fingerprint(clean),
        as_of=None,
        findings=screened.findings,
    )
    by_rule = []
    for finding in screened.findings:
        if finding.severity == "error":
            more = ", ..." if finding.count > finding.sample.height else ""
            by_rule.append(f"{finding.rule} at {_places(finding.sample, file)}{more}")
    next_step = "correct the file, or keep these rows aside with `partial_ok=True`: their bars stay unknown"
    if near := beside_grid(stamps(screened.quarantine), judged.grid):
        by_rule.append(near)
        next_step = f"{advice_off_grid(judged.grid, label)}; or {next_step}"
    bad, rows = screened.quarantine.height, file.frame.height
    raise ConformancePipelineError(
        f"{file.name}: {bad:,} of {counted(rows, 'row')} {'is' if bad == 1 else 'are'} impossible; "
        "nothing was imported",
        report=report,
        series=judged.series,
        span=judged.span,
        why="; ".join(by_rule),
        next_step=next_step,
    )
