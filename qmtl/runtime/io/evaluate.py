"""A range as the store holds it, with all that is known of it: states, flags, and what breaks its schema."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import polars as pl

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import states_if_full, states_of_cells
from qmtl.foundation.timeline import Span
from qmtl.runtime.conformance.context_window import CONTEXT
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.registered_schema import NOT_CHECKED, RegisteredSchema, SchemaCheck
from qmtl.runtime.conformance.registered_schema import check as check_schema
from qmtl.runtime.conformance.rules_key import rules_key
from qmtl.runtime.io.evaluated_range import EvaluatedRange
from qmtl.runtime.io.flag_keeper import FlagKeeper
from qmtl.runtime.io.judged import judged, judged_together, read_judged
from qmtl.runtime.io.store.contract import BarReader
from qmtl.runtime.io.store.values import Snapshot


def evaluate(
    store: BarReader,
    pipeline: ConformancePipeline,
    series: SeriesId,
    span: Span,
    *,
    grid: Grid,
    facts: SeriesFacts,
    schema: RegisteredSchema | None,
    now: int,
    as_of: int | None = None,
    cancelled: Callable[[], bool] | None = None,
    keeper: FlagKeeper | None = None,
    read: Callable[..., Snapshot] | None = None,
) -> EvaluatedRange:
    """Read `span` (aligned to the grid) at commit time `as_of` or now, and judge it.

    Rows and coverage records become states, rows among their neighbours become flags, and both are cut to the
    span. schema: what the rows are checked against, if anything. now (ns): absences that have expired then
    count as unknown. keeper: takes the flags that were found, for later reads; without one, flags that the
    store has kept are not used. read: in place of the store's own, for the span itself. For `as_of`,
    `cancelled` and what is raised, see `BarReader.read`.
    """
    subject, judge = (
        Subject(series, grid, facts, schema),
        _Judge(store, pipeline, keeper, now, as_of, cancelled),
    )
    rules = judge.rules(subject)
    snapshot = (read or store.read)(
        series, span, as_of=as_of, context=CONTEXT, cancelled=cancelled, flags_by=rules
    )
    if rules is not None and cancelled is None:  # who is in a hurry waits for no neighbours
        snapshot = judge.with_its_stretches(subject, snapshot, rules)
    return judge.judged(subject, snapshot, rules)


class Subject(NamedTuple):
    """One of several series to be evaluated, and what it is judged by; see `evaluate`."""

    series: SeriesId
    grid: Grid
    facts: SeriesFacts
    schema: RegisteredSchema | None


def evaluate_many(
    store: BarReader,
    pipeline: ConformancePipeline,
    subjects: Iterable[Subject],
    span: Span,
    *,
    now: int,
    as_of: int | None = None,
    cancelled: Callable[[], bool] | None = None,
    keeper: FlagKeeper | None = None,
) -> dict[SeriesId, EvaluatedRange]:
    """As `evaluate` for each series, with one read for all: `span` is aligned to the grid of each."""
    judge = _Judge(store, pipeline, keeper, now, as_of, cancelled)
    by_series = {subject.series: subject for subject in subjects}
    keys = ((series, judge.rules(subject)) for series, subject in by_series.items())
    rules = {series: key for series, key in keys if key is not None}
    snapshots = store.read_many(
        by_series, span, as_of=as_of, context=CONTEXT, cancelled=cancelled, flags_by=rules
    )
    clean = _clean_schemas(
        (by_series[series].schema, snapshot.frame)
        for series, snapshot in snapshots.items()
        if snapshot.flags is None
    )
    flags = _flags_together(pipeline, by_series, snapshots)
    found = {}
    for series, snapshot in snapshots.items():
        subject = by_series[series]
        is_clean = id(subject.schema) in clean
        found[series] = judge.judged(
            subject, snapshot, rules.get(series), flags.get(series), is_clean=is_clean
        )
    return found


class _Judge(NamedTuple):
    """What the ranges of one call are judged with; see `evaluate`."""

    store: BarReader
    pipeline: ConformancePipeline
    keeper: FlagKeeper | None
    now: int
    as_of: int | None
    cancelled: Callable[[], bool] | None

    def rules(self, subject: Subject) -> bytes | None:
        """By which rules kept flags of a series will do; None where none will."""
        if self.keeper is None or self.as_of is not None:
            return None
        return rules_key(self.pipeline.thresholds, subject.grid, subject.facts, subject.schema)

    def with_its_stretches(self, subject: Subject, snapshot: Snapshot, rules: bytes) -> Snapshot:
        """A snapshot of a small range, with its flags if all of its stretches are worth judging at once.

        Their flags are handed to the keeper, for its neighbours will be asked for next.
        """
        series, span, keeper = subject.series, snapshot.span, self.keeper
        if snapshot.flags is not None or keeper is None or not snapshot.count:
            return snapshot
        if snapshot.count * subject.grid.step != span.length and not snapshot.answered.contains(span):
            return snapshot  # what is missing may come next, and would make them void
        stretches = keeper.worth_judging(series, rules, span, subject.grid)
        if stretches is None:
            return snapshot
        whole, flags = read_judged(
            self.store,
            self.pipeline,
            series,
            stretches,
            grid=subject.grid,
            facts=subject.facts,
        )
        # Between two reads there may be a commit; and damage hides what a bar lies next to.
        is_sure = whole.tx == snapshot.tx and whole.reach is not None
        if not is_sure or _checked(whole.frame, subject.schema).violations:
            return snapshot
        keeper.add(series, rules, whole, flags)
        return replace(snapshot, flags=flags.clip(span))

    def judged(
        self,
        subject: Subject,
        snapshot: Snapshot,
        rules: bytes | None,
        flags: Flags | None = None,
        *,
        is_clean: bool = False,
    ) -> EvaluatedRange:
        """A snapshot that was read with `CONTEXT`, judged.

        flags: its own, if they are known. is_clean: whether its rows are known not to break the schema.
        """
        series, schema = subject.series, subject.schema
        if snapshot.flags is not None:  # kept of rows alone that do not break the schema
            return _evaluated(subject, snapshot, snapshot.flags, self.now, _unbroken(schema))
        final = snapshot
        if flags is None:
            final, flags = judged(
                self.store,
                self.pipeline,
                series,
                snapshot,
                grid=subject.grid,
                facts=subject.facts,
                as_of=self.as_of,
                cancelled=self.cancelled,
            )
        # Rows that were read again may be others.
        check = _unbroken(schema) if is_clean and final is snapshot else _checked(final.frame, schema)
        if self.keeper is not None and rules is not None and not check.violations:
            self.keeper.add(series, rules, final, flags)
        return _evaluated(subject, final, flags, self.now, check)


def _unbroken(schema: RegisteredSchema | None) -> SchemaCheck:
    return NOT_CHECKED if schema is None else SchemaCheck(schema)


def _checked(frame: pl.DataFrame, schema: RegisteredSchema | None) -> SchemaCheck:
    return NOT_CHECKED if schema is None else check_schema(frame, schema)


def _flags_together(
    pipeline: ConformancePipeline,
    subjects: Mapping[SeriesId, Subject],
    snapshots: Mapping[SeriesId, Snapshot],
) -> dict[SeriesId, Flags]:
    """The flags of the snapshots that can be judged together, as those of series that are alike."""
    alike: dict[tuple[Grid, SeriesFacts], list[tuple[SeriesId, Snapshot]]] = {}
    for series, snapshot in snapshots.items():
        grid, facts = subjects[series].grid, subjects[series].facts
        if snapshot.flags is None and grid.is_always_open:
            alike.setdefault((grid, facts), []).append((series, snapshot))
    flags: dict[SeriesId, Flags] = {}
    for (grid, facts), same in alike.items():
        flags |= judged_together(pipeline, same, grid=grid, facts=facts)
    return flags


def _clean_schemas(
    frames: Iterable[tuple[RegisteredSchema | None, pl.DataFrame]],
) -> set[int]:
    """Ids of the schemas that no row of any of their frames breaks.

    A check looks at each row by itself, and takes less for all frames at once than for one after the other.
    """
    by_schema: dict[int, tuple[RegisteredSchema, list[pl.DataFrame]]] = {}
    for schema, frame in frames:
        if schema is not None and frame.height:
            by_schema.setdefault(id(schema), (schema, []))[1].append(frame)
    return {
        number
        for number, (schema, same) in by_schema.items()
        if len(same) > 1 and not check_schema(pl.concat(same), schema).violations
    }


def _evaluated(
    subject: Subject, snapshot: Snapshot, flags: Flags, now: int, check: SchemaCheck
) -> EvaluatedRange:
    frame, grid = snapshot.frame, subject.grid
    expiries = [a.expires_at for a in snapshot.answers if a.expires_at is not None and a.expires_at > now]
    present = grid.cells(stamps(frame))
    # Where there is a bar in every cell, nobody asks what was answered.
    states = states_if_full(snapshot.span, grid, present) or states_of_cells(
        snapshot.span, grid, present, snapshot.answered, snapshot.absent(now), snapshot.damaged
    )
    return EvaluatedRange(
        subject.series,
        grid,
        subject.facts,
        frame,
        states,
        flags,
        check,
        answers=snapshot.answers,
        tx=snapshot.tx,
        as_of=snapshot.as_of,
        valid_until=min(expiries, default=None),
    )
