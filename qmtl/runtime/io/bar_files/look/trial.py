"""A proposal is judged by the reader that an import uses, on the part of the file that was looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from qmtl.foundation.calendars import AlwaysOpen, calendar_named
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import NOTHING_DECLARED, SeriesFacts
from qmtl.foundation.frames import BAR_SCHEMA, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import Int64Array, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE, SECOND, WEEK, iso
from qmtl.runtime.conformance.screen import screen
from qmtl.runtime.io.bar_files.reading import read_bar_file

# The kind of bars that stamps are first read for: their own step says then what they are.
_PROVISIONAL = Timeframe.parse("1m")
# A reading under which so many of the rows cannot be bars is none.
_MOST = 0.5


@dataclass(frozen=True)
class Reading:
    """A way of reading that gives bars.

    options: of `read_bar_file`; whole: the same before what the reader can do without was left out. facts:
    declared of the series. timeframe: that the bars were read for. step: the median distance of their
    stamps, in ns. frame: BAR_SCHEMA, as read. lines: of each row in the file that was read, from 1;
    `place` is what they count.
    impossible: how many rows an import would refuse, by rule. notes: of the reader.
    """

    options: dict[str, Any]
    whole: dict[str, Any]
    facts: SeriesFacts
    timeframe: Timeframe
    step: int
    frame: pl.DataFrame
    lines: Int64Array
    place: str
    impossible: Mapping[str, int]
    notes: tuple[str, ...]

    def roles(self, names: tuple[str, ...]) -> dict[int, str]:
        """Which of the columns with these names has which role, by place."""
        found = dict[int, str]()
        columns = self.whole.get("columns") or ""
        for place, item in enumerate(columns.split(",") if columns else []):
            role, equals, name = item.partition("=")
            if equals and name:
                found[names.index(name)] = role
            elif role and not equals:
                found[place] = role
        for option in ("date", "time"):
            if name := self.whole.get(option):
                found[names.index(name) if name in names else int(name.split()[-1]) - 1] = "ts"
        return found


@dataclass(frozen=True)
class Refusal:
    """Why options do not read the file. timeframe: of its bars, None if its stamps were not read."""

    options: dict[str, Any]
    error: InvalidRequestError
    timeframe: Timeframe | None = None


def attempt(
    path: Path,
    options: dict[str, Any],
    *,
    timeframe: Timeframe | None = None,
    facts: SeriesFacts = NOTHING_DECLARED,
) -> Reading | Refusal:
    """Read `path` with these options.

    timeframe: of the series; left out, the step of the stamps tells it. facts: declared of the series.
    """
    known, told = timeframe, None
    try:
        # A label shifts stamps by their timeframe, which their step has to tell first.
        plain = options if known is not None else {k: v for k, v in options.items() if k != "label"}
        calendar = None if facts.calendar is None else calendar_named(facts.calendar)
        file = read_bar_file(path, timeframe=known or _PROVISIONAL, calendar=calendar, **plain)
        step = step_of(stamps(file.frame.drop_nulls("ts")))
        told = known
        if known is None:
            known = told = timeframe_of(step)
            if not known.is_intraday or plain != options:
                file = read_bar_file(path, timeframe=known, calendar=calendar, **options)
        grid = Grid(known, calendar or AlwaysOpen(), facts.anchor or "clock")
        impossible = _impossible(file.frame, grid)
    except InvalidRequestError as error:
        return Refusal(options, error, told)
    if sum(impossible.values()) <= file.frame.height * _MOST:
        return Reading(
            options, options, facts, known, step, file.frame, file.lines, file.place, impossible, file.notes
        )
    return Refusal(options, _no_bars(file.frame, impossible, known), known)


def _no_bars(frame: pl.DataFrame, impossible: Mapping[str, int], timeframe: Timeframe) -> InvalidRequestError:
    """For rows of which most cannot be bars."""
    rule = max(impossible, key=lambda name: impossible[name])
    what = (
        f"{sum(impossible.values())} of the {frame.height} rows that were seen cannot be bars of {timeframe}"
    )
    if rule != "temporal.off_grid":
        return InvalidRequestError(what, why=f"most of them break {rule}")
    seen = ", ".join(iso(int(ts)) for ts in np.unique(stamps(frame))[:3])
    return InvalidRequestError(
        what,
        why=f"they do not start where bars of the clock do: {seen}",
        next_step="if they count from a session's open, name its calendar: `calendar=MIC` `anchor=session`",
    )


def step_of(ts: Int64Array) -> int:
    """The median distance of neighbouring stamps, in ns; 0 for less than two bars."""
    steps = np.diff(np.unique(ts))
    return int(np.sort(steps)[len(steps) // 2]) if len(steps) else 0


def timeframe_of(step: int) -> Timeframe:
    """The timeframe of bars that are a step apart. Raises `InvalidRequestError` if there is none."""
    named = {DAY: "1d", WEEK: "1w"}
    text = named.get(step)
    for length, unit in ((HOUR, "h"), (MINUTE, "m"), (SECOND, "s")):
        if text is None and step and step % length == 0 and step < DAY and DAY % step == 0:
            text = f"{step // length}{unit}"
    if text is None:
        shown = f"{step / DAY:g} days" if step >= DAY else f"{step / SECOND:g} seconds"
        raise InvalidRequestError(
            f"the bars are {shown} apart" if step else "there is only one bar",
            why="no timeframe is so long" if step else "one bar tells no timeframe",
            next_step="get bars of a timeframe from 1s to 1w"
            if step
            else "name the series with its timeframe: `series=ohlcv:VENUE:SYMBOL:TIMEFRAME`",
        )
    return Timeframe.parse(text)


def simplest(path: Path, reading: Reading, end: Path | None = None) -> Reading:
    """The same bars with as few options as they need.

    end: the end of the file, if it is read apart: options that it needs stay.
    """
    without_times = {
        name: value for name, value in reading.options.items() if name not in ("ts_format", "tz")
    }
    reading = _if_same(path, reading, without_times, end)
    for name in reading.options:
        fewer = {key: value for key, value in reading.options.items() if key != name}
        if name == "date":
            fewer.pop("time", None)
        reading = _if_same(path, reading, fewer, end)
    columns = reading.options.get("columns", "")
    for pair in columns.split(","):
        if "=" in pair and pair != columns:
            kept = ",".join(one for one in reading.options["columns"].split(",") if one != pair)
            reading = _if_same(path, reading, {**reading.options, "columns": kept}, end)
    return reading


def _if_same(path: Path, reading: Reading, options: dict[str, Any], end: Path | None) -> Reading:
    """The reading under these options if it gives the same bars, else as it is."""
    for part in (path, *([] if end is None else [end])):
        tried = options if part is not path or end is None else _footless(options)
        again = attempt(part, tried, timeframe=reading.timeframe, facts=reading.facts)
        if isinstance(again, Refusal) or (part is path and not again.frame.equals(reading.frame)):
            return reading
        if part is path:
            notes = again.notes
            # A note that is new says that something else was read: another column, or stamps without a zone.
            if not set(notes) <= set(reading.notes):
                return reading
    return replace(reading, options=options, notes=notes)


def _footless(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "skip_foot"}


def _impossible(frame: pl.DataFrame, grid: Grid) -> dict[str, int]:
    """How many rows an import would refuse, by the first rule that each breaks."""
    # A row without any price is an answer without a trade, and no impossible one.
    prices = [pl.col(name).fill_nan(None).is_not_null() for name in ("open", "high", "low", "close")]
    bars = frame.drop_nulls("ts").filter(pl.any_horizontal(prices))
    if bars.is_empty():
        return {}
    ts = stamps(bars)
    screened = screen(
        bars.select(BAR_SCHEMA.names()),
        grid=grid,
        facts=SeriesFacts(has_volume=False if bars["volume"].null_count() == bars.height else None),
        within=Span(int(ts.min()), int(ts.max()) + 1),
        now=None,
    )
    counts = screened.quarantine.group_by("rule").len()
    return dict(zip(counts["rule"].to_list(), counts["len"].to_list(), strict=True))
