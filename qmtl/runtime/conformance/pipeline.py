"""All rules over a range of bars, and what they mean for an answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.grid import Grid
from qmtl.foundation.parallel import in_parallel
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import BarStates
from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array
from qmtl.runtime.conformance import grid_rules, outliers, rhythm, row_rules, runs
from qmtl.runtime.conformance.acceptance import Accepted
from qmtl.runtime.conformance.context_window import CONTEXT, ContextWindow
from qmtl.runtime.conformance.findings import Finding
from qmtl.runtime.conformance.flags import EMPTY_FLAGS, Flags
from qmtl.runtime.conformance.report import ConformanceReport, Heal, Unchecked, build_report
from qmtl.runtime.conformance.rules import DEFAULT_THRESHOLDS, SILENCE, Thresholds

# Rows judged at a time: bounds memory. So few that the allocator reuses the memory of each step (see
# `parallel`) instead of asking the system for cleared pages, which took half of the time. Half as many took
# a fifth more on illiquid minutes, for each step of a block costs something by itself, and so do the rows
# around it; twice as many were no quicker.
_BLOCK_ROWS = 1 << 17


class ConformancePipeline:
    """The three stages of checks on bars: schema, temporal, quality. Pure; holds only its thresholds."""

    def __init__(self, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> None:
        self.thresholds = thresholds

    def flag(
        self,
        rows: pl.DataFrame,
        *,
        grid: Grid,
        facts: SeriesFacts,
        answered: Coverage | None = None,
        answered_behind: Coverage = EMPTY,
    ) -> Flags:
        """Every rule that a row, or the gap after it, breaks.

        rows: BAR_SCHEMA, sorted by `ts`, unique; with `CONTEXT` rows on either side of what was requested,
        or `max_context` rows where `needs_more_context` says so (clip the flags to what was requested). A
        flag depends on a bar, on its 64 neighbours and on the run it belongs to, never on the range
        requested.
        answered: the spans that sources answered, from the first row to the last; None: all of it.
        answered_behind: the spans that they answered after the last row, if none follows it in the store.
        """
        height = rows.height

        def of_block(start: int) -> Flags:
            return self._flag_window(
                self._block(rows, start, min(start + _BLOCK_ROWS, height), grid, answered),
                facts,
                answered_behind if start + _BLOCK_ROWS >= height else EMPTY,
            )

        starts = range(0, height, _BLOCK_ROWS)
        # A calendar may be foreign code, which expects one caller at a time.
        return Flags.joined(
            in_parallel(of_block, starts, worth_it=2) if grid.is_always_open else map(of_block, starts)
        )

    @property
    def max_context(self) -> int:
        """How many rows on either side are enough for every rule, however long the runs are."""
        return self.thresholds.run_always + CONTEXT

    def needs_more_context(self, rows: pl.DataFrame, first: int, last: int, grid: Grid) -> bool:
        """Whether the rows `[first, last)` can only be judged with more than `CONTEXT` rows around them."""
        low, high = max(first - CONTEXT, 0), min(last + CONTEXT, rows.height)
        return runs.crosses_an_edge(
            ContextWindow(rows.slice(low, high - low), grid, first - low, last - low), self.thresholds
        )

    def _block(
        self, rows: pl.DataFrame, start: int, end: int, grid: Grid, answered: Coverage | None
    ) -> ContextWindow:
        """The rows `[start, end)` with the rows around them that their flags depend on."""
        if end - start == rows.height:
            return ContextWindow(rows, grid, 0, end, answered)
        context = self.max_context if self.needs_more_context(rows, start, end, grid) else CONTEXT
        low, high = max(start - context, 0), min(end + context, rows.height)
        return ContextWindow(rows.slice(low, high - low), grid, start - low, end - low, answered)

    def report(
        self,
        *,
        series: SeriesId,
        frame: pl.DataFrame,
        states: BarStates,
        flags: Flags,
        fingerprint: str,
        as_of: int | None,
        previous: Mapping[str, Any] | None = None,
        accepted: Iterable[Accepted] = (),
        heal: Heal | None = None,
        findings: Iterable[Finding] = (),
        schema_id: str = "unknown",
        unchecked: Iterable[Unchecked] = (),
    ) -> ConformanceReport:
        """The whole report of one answer.

        frame: the rows of the answer. flags: clipped to the span of `states`. previous: the JSON of the
        report to compare with. findings: others to include, from screening, from replaced rows, and so on;
        those of one rule are merged. schema_id: of the schema that the rows were checked against. unchecked:
        what could not be checked.
        """
        return build_report(
            series=series,
            frame=frame,
            states=states,
            flags=flags,
            fingerprint=fingerprint,
            as_of=as_of,
            thresholds=self.thresholds,
            previous=previous,
            accepted=tuple(accepted),
            heal=heal,
            more=tuple(findings),
            schema_id=schema_id,
            unchecked=tuple(unchecked),
        )

    def _flag_window(self, window: ContextWindow, facts: SeriesFacts, answered_behind: Coverage) -> Flags:
        rows = window.rows
        if rows.height == 0:
            return EMPTY_FLAGS
        thresholds = self.thresholds
        found: dict[str, list[Int64Array]] = {}

        def add(rule: str, ts: Int64Array) -> None:
            if len(ts):
                found.setdefault(rule, []).append(ts)

        if not row_rules.all_clear(rows, facts, window.columns):
            for rule, broken in _rows_where(rows, row_rules.rules_for(facts)).items():
                add(rule, window.stamps_of(broken))
        add(
            "temporal.off_grid",
            window.stamps_of(grid_rules.off_grid(window.ts, window.gaps, window.grid)),
        )
        for rule, ts in grid_rules.outside_sessions(window, thresholds).items():
            add(rule, ts)
        silent = rhythm.silences(window, thresholds)
        if answered_behind:
            silent = silent.joined(rhythm.last_silence(window, answered_behind, thresholds))
        add("temporal.other_timeframe", rhythm.other_timeframe(window, thresholds))
        candidates = outliers.candidates(window, thresholds)
        if len(candidates.spikes):
            add("quality.price_spike", outliers.spikes(window, candidates.spikes, thresholds))
        if len(candidates.jumps):
            for rule, ts in outliers.jumps(window, candidates.jumps, window.missing, thresholds).items():
                add(rule, ts)
        if len(candidates.volumes):
            add("quality.volume_spike", outliers.volume_spikes(window, candidates.volumes, thresholds))
        add("quality.stale_run", runs.stale_runs(window, thresholds))
        if not np.minimum.reduce(window.columns["volume"]) > 0:  # also if any is NaN
            add("quality.zero_volume_padding", runs.padded_bars(window, thresholds))
        return Flags.of(
            {rule: np.unique(np.concatenate(ts)) for rule, ts in found.items()},
            {SILENCE: silent.implausible},
            {SILENCE: silent.unchecked},
        )


def _rows_where(rows: pl.DataFrame, rules: Mapping[str, pl.Expr]) -> dict[str, Any]:
    """Row numbers where each expression is true."""
    masks = rows.select(mask.fill_null(False).alias(name) for name, mask in rules.items())
    return {name: np.flatnonzero(masks[name].to_numpy()) for name in rules}
