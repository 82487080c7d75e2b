"""What may enter the store: every page and every file is sorted into clean rows and quarantine first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import BAR_SCHEMA, TS, VALUES, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array, Span
from qmtl.foundation.times import EARLIEST, LATEST, SECOND, iso
from qmtl.foundation.words import counted
from qmtl.runtime.conformance.findings import Finding, quarantine_findings, row_finding, sort_findings
from qmtl.runtime.conformance.grid_rules import off_grid
from qmtl.runtime.conformance.row_rules import IS_EMPTY_ROW, all_clear, rules_for
from qmtl.runtime.conformance.rules import EMPTY_ROW, RULE_IDS

_PER_SECOND = {"ms": 1_000, "us": 1_000_000}
_DUPLICATE = "temporal.duplicate"
# With fewer rows than this, the median step between them proves nothing.
_MIN_ROWS_FOR_STEPS = 4

QUARANTINE_SCHEMA = pl.Schema([*BAR_SCHEMA.items(), ("rule", pl.String())])
_EMPTY_QUARANTINE = pl.DataFrame(schema=QUARANTINE_SCHEMA)


@dataclass(frozen=True)
class Screened:
    """One page, split into what may be stored and what may not.

    clean: BAR_SCHEMA, sorted by `ts`, unique, nothing impossible.
    quarantine: QUARANTINE_SCHEMA (and the columns asked to be kept), sorted by `ts`: impossible rows, each
        once, with the first rule in catalogue order that it breaks.
    findings: one per rule, errors first; duplicates that were dropped are an info.
    retracted: the cells of quarantined rows: their bars are unknown, whatever the page answered.
    no_trade: the cells of rows without any price: the page says that nothing was traded in them.
    """

    clean: pl.DataFrame
    quarantine: pl.DataFrame
    findings: tuple[Finding, ...]
    retracted: Coverage
    no_trade: Coverage = EMPTY


def screen(
    frame: pl.DataFrame,
    *,
    grid: Grid,
    facts: SeriesFacts,
    within: Span,
    now: int | None,
    keep: Sequence[str] = (),
) -> Screened:
    """Sort the rows of one answer into what may be stored and what may not.

    frame: at least the columns of BAR_SCHEMA, rows in any order; `ts` a UTC datetime column of any unit (cast
        to nanoseconds exactly), the others Float64. Other columns are ignored, but those named in `keep`
        go along into quarantine and samples (line numbers of a file).
    within: the span that its rows may lie in. now: bars that close later are still forming; None if all are
    final. Exact duplicates are kept once; of two different rows for one bar none is kept. A row without any
    price, and without volume, is an answer, and no bar. Raises `InvalidRequestError` for missing columns,
    other types, rows without a time, or outside `within`, and for rows of a shorter timeframe.
    """
    bars = _checked(frame, keep)
    ts = stamps(bars)
    if len(ts) == 0:
        return _all_clean(bars)
    _refuse_outside(ts, within)
    # Most pages are clean; then one pass over them is enough.
    steps = np.diff(ts)
    if (
        (steps > 0).all()
        and (now is None or int(ts[-1]) + grid.step <= now)
        and len(off_grid(ts, np.flatnonzero(steps != grid.step), grid)) == 0
        and all_clear(bars, facts)
    ):
        return _all_clean(bars)
    _refuse_finer(ts, grid)
    return _split(bars, grid, facts, now)


def _all_clean(bars: pl.DataFrame) -> Screened:
    clean = bars if bars.width == len(BAR_SCHEMA) else bars.select(BAR_SCHEMA.names())
    return Screened(clean, _EMPTY_QUARANTINE, (), EMPTY)


def _split(bars: pl.DataFrame, grid: Grid, facts: SeriesFacts, now: int | None) -> Screened:
    received = bars.height
    bars = bars.sort("ts", maintain_order=True)
    # Empty rows can be written in several ways (null, NaN, zero volume); they must not count as conflicts.
    normalized = bars.with_columns(pl.when(~IS_EMPTY_ROW).then(pl.col(VALUES)))
    is_first = normalized.select(pl.struct(BAR_SCHEMA.names()).is_first_distinct()).to_series()
    duplicates, bars = bars.filter(~is_first), bars.filter(is_first)
    rules, broken = _first_broken_rule(bars, grid, facts, now)
    bad, empty = pl.Series(broken >= 0), bars.select(IS_EMPTY_ROW).to_series()
    clean = bars.filter(~bad & ~empty).select(BAR_SCHEMA.names())
    empty_rows = bars.filter(~bad & empty)
    quarantine = bars.filter(bad).with_columns(rules.gather(broken[broken >= 0]).alias("rule"))
    findings = quarantine_findings(quarantine, total=received)
    if duplicates.height:
        findings.append(row_finding(_DUPLICATE, duplicates, total=received))
    if empty_rows.height:
        findings.append(row_finding(EMPTY_ROW, empty_rows, total=received))
    return Screened(
        clean=clean,
        quarantine=quarantine.select(*QUARANTINE_SCHEMA, pl.exclude(*QUARANTINE_SCHEMA)),
        findings=sort_findings(findings),
        # An off-grid row does not retract the bar of a clean row in the same cell.
        retracted=_cells(stamps(quarantine), grid)
        - grid.cells(stamps(clean))
        - grid.cells(stamps(empty_rows)),
        no_trade=grid.cells(stamps(empty_rows)),
    )


def _first_broken_rule(
    bars: pl.DataFrame, grid: Grid, facts: SeriesFacts, now: int | None
) -> tuple[pl.Series, npt.NDArray[np.intp]]:
    """Rule ids in catalogue order, and for each row (sorted by `ts`) the first that it breaks, or -1."""
    ts = stamps(bars)
    is_off_grid = np.zeros(len(ts), dtype=bool)
    is_off_grid[off_grid(ts, np.flatnonzero(np.diff(ts) != grid.step), grid)] = True
    repeats = ts[1:] == ts[:-1]
    broken = bars.select(
        (mask.fill_null(False) & ~IS_EMPTY_ROW).alias(rule) for rule, mask in rules_for(facts).items()
    )
    masks = {
        "temporal.off_grid": is_off_grid,
        "temporal.forming_bar": _forming(ts, is_off_grid, grid, now),
        "temporal.conflicting_rows": np.append(repeats, False) | np.insert(repeats, 0, False),
        **{rule: broken[rule].to_numpy() for rule in broken.columns},
    }
    rules = [rule for rule in RULE_IDS if rule in masks]
    broken_by = np.column_stack([masks[rule] for rule in rules])
    return pl.Series(rules), np.where(broken_by.any(axis=1), broken_by.argmax(axis=1), -1)


def _forming(
    ts: Int64Array, is_off_grid: npt.NDArray[np.bool_], grid: Grid, now: int | None
) -> npt.NDArray[np.bool_]:
    """Which bars on the grid close after `now`."""
    forming = np.zeros(len(ts), dtype=bool)
    if now is not None:
        for place in np.flatnonzero((ts > now - grid.step) & ~is_off_grid).tolist():
            forming[place] = grid.after(int(ts[place])) > now
    return forming


def _cells(ts: Int64Array, grid: Grid) -> Coverage:
    """The cells that hold some stamps, on the grid or off it."""
    floors = {grid.floor(t) for t in ts.tolist()}
    return grid.cells(np.array(sorted(floors), dtype=np.int64))


def _refuse_outside(ts: Int64Array, within: Span) -> None:
    outside = (ts < within.start) | (ts >= within.end)
    if outside.any():
        raise InvalidRequestError(
            f"{int(outside.sum()):,} of {counted(len(ts), 'row')} lie outside the range they were given for",
            span=within,
            why=f"the first of them opens at {iso(int(ts[outside][0]))}",
            next_step="a source must answer with rows of the range it says it answers for",
        )


def _refuse_finer(ts: Int64Array, grid: Grid) -> None:
    """Raise where most rows lie within bars: those on the grid would pass for bars that are much longer."""
    ordered = np.unique(ts)
    steps = np.diff(ordered)
    if len(ordered) < _MIN_ROWS_FOR_STEPS or np.median(steps) >= grid.step:
        return
    astray = int(np.count_nonzero(~grid.on_grid(ordered)))
    if 2 * astray >= len(ordered):
        raise InvalidRequestError(
            f"the rows are those of a shorter timeframe than {grid.timeframe}",
            why=f"{astray:,} of {len(ordered):,} open within a bar; most follow the one before by "
            f"{np.median(steps) / SECOND:g} seconds",
            next_step="write the timeframe of the rows into the series; no row was kept",
        )


def _checked(frame: pl.DataFrame, keep: Sequence[str]) -> pl.DataFrame:
    """The columns of BAR_SCHEMA, then those to keep; `ts` in nanoseconds."""
    missing = [name for name in (*BAR_SCHEMA, *keep) if name not in frame.columns]
    if missing:
        raise _unusable_frame(f"columns are missing: {', '.join(missing)}", frame)
    dtype = frame.schema["ts"]
    if not isinstance(dtype, pl.Datetime) or dtype.time_zone != "UTC":
        raise _unusable_frame(f"ts is {dtype}, not a UTC datetime", frame)
    # A column of nothing but nulls has no type of its own yet.
    untyped = [name for name in VALUES if frame.schema[name] == pl.Null]
    wrong = [name for name in VALUES if frame.schema[name] not in (pl.Float64, pl.Null)]
    if wrong:
        wrong_types = ", ".join(f"{name} is {frame.schema[name]}" for name in wrong)
        raise _unusable_frame(f"{wrong_types}; expected Float64", frame)
    if frame["ts"].null_count():
        raise _unusable_frame(f"{counted(frame['ts'].null_count(), 'row')} without a ts", frame)
    wanted = [*BAR_SCHEMA, *keep]
    bars = frame if frame.columns == wanted else frame.select(wanted)
    if dtype.time_unit != "ns" and bars.height:
        # Beyond this range nanoseconds would overflow silently.
        unit_ns = SECOND // _PER_SECOND[dtype.time_unit]
        times = frame["ts"].to_physical().to_numpy()
        if int(times.min()) * unit_ns < EARLIEST or int(times.max()) * unit_ns > LATEST:
            raise _unusable_frame("ts reaches outside 1677-09-22 to 2262-04-11", frame)
    if dtype.time_unit != "ns":
        bars = bars.with_columns(pl.col("ts").cast(TS))
    return bars.with_columns(pl.col(untyped).cast(pl.Float64)) if untyped else bars


def _unusable_frame(why: str, frame: pl.DataFrame) -> InvalidRequestError:
    columns = ", ".join(f"{name} {dtype}" for name, dtype in frame.schema.items())
    return InvalidRequestError(
        "a frame of bars cannot be used",
        why=f"{why} (it has {columns})",
        next_step="give ts as Datetime('ns', 'UTC') and open, high, low, close, volume as Float64",
    )
