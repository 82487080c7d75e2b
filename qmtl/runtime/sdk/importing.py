"""A file of bars becomes part of the store: the whole file, or nothing of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import polars as pl

from qmtl.foundation.clock import Clock
from qmtl.foundation.facts import Anchor
from qmtl.foundation.series import SeriesId
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.ingest.settlement import SettlementPolicy
from qmtl.runtime.io.bar_files import ReadingOptions
from qmtl.runtime.io.bar_files.frames import polars_frame
from qmtl.runtime.sdk.answered_range import Answered, answered_range
from qmtl.runtime.sdk.import_commit import ImportResult, commit_file
from qmtl.runtime.sdk.import_target import Given, Into, opened_target
from qmtl.runtime.sdk.schema_enforcer import SchemaEnforcer
from qmtl.runtime.sdk.series_declarations import SeriesDeclarations
from qmtl.runtime.sdk.staged_import import Holes, OnStage, judge_file


def import_file(
    into: Into,
    path: str | Path,
    series: SeriesId | str,
    *,
    calendar: str | None = None,
    anchor: Anchor | None = None,
    answered: Answered | None = None,
    holes: Holes = "unknown",
    partial_ok: bool = False,
    declared: SeriesDeclarations | None = None,
    pipeline: ConformancePipeline | None = None,
    settlement: SettlementPolicy | None = None,
    clock: Clock | None = None,
    schemas: SchemaEnforcer | None = None,
    on_stage: OnStage | None = None,
    **options: Unpack[ReadingOptions],
) -> ImportResult:
    """Read, check and commit a file, in one commit.

    into: a provider, a store, the folder of a store, or `Settings`, which name one. A store that is not
        there is made once the file has passed.
    path: a file, a folder of files, or a pattern such as `data/2024-*.csv`; all of it is one import.
    calendar, anchor: declared of the series, in the store, as is `columns="volume="` (the source has no
        volume).
    answered: the range `[start, end)` that the file speaks for, as a `Span` or as two times like those of
        `fetch`: bars in it without a row did not trade.
    holes: what a bar between the first and the last row is, if it has none: "unknown" (silence in a file
        proves nothing) or "no_trade".
    partial_ok: send impossible rows, and different rows for one bar, to quarantine instead of refusing the
        file; their bars stay unknown.
    declared: what settings and Python declare of series; calendars of the user's own are found there. Left
        out, what the provider or the settings know; so are `pipeline`, `settlement`, `clock` and `schemas`.
    settlement: when a bar without a row counts as one that did not trade.
    schemas: what checks the rows against their schema; left out, the schema that comes with this package.
    on_stage: called with what is going on, how much of it is done, and how much there is to do.
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
        Given(declared, pipeline, settlement, clock, schemas),
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
    answered: Answered | None = None,
    holes: Holes = "unknown",
    partial_ok: bool = False,
    clock: Clock | None = None,
    **options: Unpack[ReadingOptions],
) -> ImportResult:
    """Check and commit a frame of bars, by the rules of `import_file`.

    frame: of polars, pandas (an index with a name or with times is a column) or Arrow; its rows count from 1
        in findings and errors.
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
    answered: Answered | None,
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
            answered=answered_range(answered),
            holes=holes,
            partial_ok=partial_ok,
            declared=target.declared,
            pipeline=target.pipeline,
            settlement=target.settlement,
            now=target.clock.now(),
            binding=target.schemas.of(series),
            on_stage=on_stage,
            **options,
        )
        store, schemas = target.opened()
        return commit_file(
            store,
            judged,
            pipeline=target.pipeline,
            schemas=schemas,
            clock=target.clock,
            on_stage=on_stage,
        )
