"""All rules over a stretch of bars, and what they mean for an answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import BarStates
from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array
from qmtl.runtime.conformance import on_the_grid, outliers, rhythm, row_rules, runs
from qmtl.runtime.conformance.acceptance import Accepted, unaccepted
from qmtl.runtime.conformance.findings import Finding
from qmtl.runtime.conformance.flags import EMPTY_FLAGS, Flags
from qmtl.runtime.conformance.report import ConformanceReport, Heal, Unchecked, build_report
from qmtl.runtime.conformance.rules import DEFAULT_THRESHOLDS, IS_ERROR, IS_WARNING, SILENCE, Thresholds
from qmtl.runtime.conformance.stretch import CONTEXT, Stretch

# Rows judged at once: bounds memory, and keeps the columns within the processor's caches.
_BLOCK = 1 << 17


class Verdict(NamedTuple):
    """How many flags would raise: errors, and warnings that nobody accepted (silent cells count one each)."""

    errors: int
    warnings: int

    @property
    def passes(self) -> bool:
        return self.errors == 0 and self.warnings == 0


PASSED = Verdict(0, 0)


class ConformancePipeline:
    """The three stages (schema, temporal, quality) as one judge of bars. Pure; holds only its thresholds."""

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

        rows: BAR_SCHEMA, sorted by `ts`, unique; with `CONTEXT` rows on either side of what was asked, or
        `reach` rows where `is_cut` asks for more (clip the answer to what was asked). A flag depends on a
        bar, on its 64 neighbours and on the run that it belongs to, never on the range asked.
        answered: what sources have answered for, from the first row to the last; None: for all of it.
        answered_behind: what they answered for behind the last row, if no other follows it in the store.
        """
        height = rows.height
        return Flags.joined(
            self._flag_stretch(
                self._block(rows, start, min(start + _BLOCK, height), grid, answered),
                facts,
                answered_behind if start + _BLOCK >= height else EMPTY,
            )
            for start in range(0, height, _BLOCK)
        )

    @property
    def reach(self) -> int:
        """How many rows on either side are enough for every rule, however long the runs are."""
        return self.thresholds.run_always + CONTEXT

    def is_cut(self, rows: pl.DataFrame, first: int, last: int, grid: Grid) -> bool:
        """Whether the rows `[first, last)` can only be judged with more than `CONTEXT` rows around them."""
        low, high = max(first - CONTEXT, 0), min(last + CONTEXT, rows.height)
        return runs.is_cut(
            Stretch(rows.slice(low, high - low), grid, first - low, last - low), self.thresholds
        )

    def _block(
        self, rows: pl.DataFrame, start: int, end: int, grid: Grid, answered: Coverage | None
    ) -> Stretch:
        """The rows `[start, end)` among as many others as they depend on."""
        around = self.reach if self.is_cut(rows, start, end, grid) else CONTEXT
        low, high = max(start - around, 0), min(end + around, rows.height)
        return Stretch(rows.slice(low, high - low), grid, start - low, end - low, answered)

    def verdict(
        self,
        flags: Flags,
        states: BarStates,
        accepted: Iterable[Accepted] = (),
        frame: pl.DataFrame | None = None,
    ) -> Verdict:
        """Whether an answer may be given without raising. Silence counts only where a source said `no_trade`.

        With `accepted`, `frame` must hold the flagged rows, for what was accepted may have changed since.
        """
        if not flags:
            return PASSED
        if accepted and frame is not None:
            flags = unaccepted(flags, accepted, frame)
        silent = flags.spans.get(SILENCE, EMPTY)
        return Verdict(
            errors=int(np.count_nonzero(IS_ERROR[flags.codes])),
            warnings=int(np.count_nonzero(IS_WARNING[flags.codes]))
            + (states.grid.count(silent & states.no_trade) if silent else 0),
        )

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
        report to compare with. findings: more of them, from screening, from replaced rows, and so on; those
        of one rule become one. schema_id: of the schema that the rows were held to. unchecked: what could
        not be checked.
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

    def _flag_stretch(self, stretch: Stretch, facts: SeriesFacts, answered_behind: Coverage) -> Flags:
        rows = stretch.rows
        if rows.height == 0:
            return EMPTY_FLAGS
        limits = self.thresholds
        found: dict[str, list[Int64Array]] = {}

        def add(rule: str, ts: Int64Array) -> None:
            found.setdefault(rule, []).append(ts)

        if not row_rules.all_clear(rows, facts):
            for rule, broken in _rows_where(rows, row_rules.rules_for(facts)).items():
                add(rule, stretch.stamps_of(broken))
        add(
            "temporal.off_grid",
            stretch.stamps_of(on_the_grid.off_grid(stretch.ts, stretch.gaps, stretch.grid)),
        )
        for rule, ts in on_the_grid.outside_sessions(stretch, limits).items():
            add(rule, ts)
        silent = rhythm.silences(stretch, limits)
        if answered_behind:
            silent = silent.joined(rhythm.last_silence(stretch, answered_behind, limits))
        add("temporal.other_timeframe", rhythm.other_timeframe(stretch, limits))
        odd = outliers.candidates(stretch, limits)
        if len(odd.spikes):
            add("quality.price_spike", outliers.spikes(stretch, odd.spikes, limits))
        if len(odd.jumps):
            for rule, ts in outliers.jumps(stretch, odd.jumps, stretch.missing, limits).items():
                add(rule, ts)
        if len(odd.volumes):
            add("quality.volume_spike", outliers.volume_spikes(stretch, odd.volumes, limits))
        add("quality.stale_run", runs.stale_runs(stretch, limits))
        if (stretch.columns["volume"] == 0).any():
            add("quality.zero_volume_padding", runs.padded_bars(stretch, limits))
        return Flags.of(
            {rule: np.unique(np.concatenate(ts)) for rule, ts in found.items()},
            {SILENCE: silent.implausible},
            {SILENCE: silent.unchecked},
        )


def _rows_where(rows: pl.DataFrame, asked: Mapping[str, pl.Expr]) -> dict[str, Any]:
    """Row numbers where each expression is true."""
    masks = rows.select(mask.fill_null(False).alias(name) for name, mask in asked.items())
    return {name: np.flatnonzero(masks[name].to_numpy()) for name in asked}
