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
from qmtl.runtime.io.bar_files.look.names import place_of
from qmtl.runtime.io.bar_files.option_values import parse_columns
from qmtl.runtime.io.bar_files.options import ReadingOptions
from qmtl.runtime.io.bar_files.reading import read_bar_file

# The kind of bars that stamps are first read for: their own step says then what they are.
_PROVISIONAL = Timeframe.parse("1m")
# A reading is rejected if this share of the rows cannot be bars.
_MOST = 0.5


@dataclass(frozen=True)
class Reading:
    """A way of reading that gives bars.

    options: of `read_bar_file`; all_options: the same before those it can do without were left out. facts:
    declared of the series. timeframe: that the bars were read for. step: the median distance of their
    stamps, in ns. frame: BAR_SCHEMA, as read. lines: of each row in the file that was read, from 1;
    `place` is what they count.
    impossible: how many rows an import would refuse, by rule. notes: of the reader.
    """

    options: dict[str, Any]
    all_options: dict[str, Any]
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
        columns = parse_columns(
            self.all_options.get("columns"), separate_stamps=bool(self.all_options.get("date"))
        )
        found = {place: role for place, role in enumerate(columns.order) if role}
        named = [
            *columns.named.items(),
            *(("ts", self.all_options.get(option)) for option in ("date", "time")),
        ]
        for role, name in named:
            if name and (place := place_of(name, names)) is not None:
                found[place] = role
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

    timeframe: of the series; without it, it follows from the step of the stamps. facts: declared of the
    series.
    """
    known, refused_timeframe = timeframe, None
    try:
        # A label shifts stamps by their timeframe, which their step has to tell first.
        plain = options if known is not None else {k: v for k, v in options.items() if k != "label"}
        calendar = None if facts.calendar is None else calendar_named(facts.calendar)
        file = read_bar_file(path, timeframe=known or _PROVISIONAL, calendar=calendar, **plain)
        step = step_of(stamps(file.frame.drop_nulls("ts")))
        refused_timeframe = known
        if known is None:
            known = refused_timeframe = timeframe_of(step)
            if not known.is_intraday or plain != options:
                file = read_bar_file(path, timeframe=known, calendar=calendar, **options)
        grid = Grid(known, calendar or AlwaysOpen(), facts.anchor or "clock")
        impossible = _impossible(file.frame, grid)
    except InvalidRequestError as error:
        return Refusal(options, error, refused_timeframe)
    if sum(impossible.values()) <= file.frame.height * _MOST:
        return Reading(
            options, options, facts, known, step, file.frame, file.lines, file.place, impossible, file.notes
        )
    return Refusal(options, _no_bars(file.frame, impossible, known, "tz" in options), known)


def _no_bars(
    frame: pl.DataFrame, impossible: Mapping[str, int], timeframe: Timeframe, has_zone: bool
) -> InvalidRequestError:
    """For rows of which most cannot be bars."""
    rule = max(impossible, key=lambda name: impossible[name])
    what = (
        f"{sum(impossible.values())} of the {frame.height} rows that were seen cannot be bars of {timeframe}"
    )
    if rule != "temporal.off_grid":
        return InvalidRequestError(what, why=f"most of them break {rule}")
    ts = stamps(frame.drop_nulls("ts"))
    seen = ", ".join(iso(int(one)) for one in np.unique(ts)[:3])
    step = step_of(ts)
    apart = f"; they are {length(step)} apart" if timeframe.is_intraday and step != timeframe.step else ""
    return InvalidRequestError(
        what,
        why=f"they do not start where bars of the clock do: {seen}{apart}",
        next_step=_advice_off_clock(ts, timeframe, has_zone),
    )


def _advice_off_clock(ts: Int64Array, timeframe: Timeframe, has_zone: bool) -> str:
    """All that explains stamps beside the clock; the stamps do not tell which of it is so."""
    session = "if they count from a session's open, name its calendar: `calendar=MIC` `anchor=session`"
    if (
        has_zone
        or timeframe.step % HOUR
        or len(np.unique(ts % HOUR)) != 1
        or int(ts[0] % HOUR) % (15 * MINUTE)
    ):
        return session
    return (
        f"{session}; if they are the times of a clock that is not whole hours from UTC, name its zone: "
        "`tz=Asia/Kolkata` is 5:30 ahead, `tz=Asia/Kathmandu` 5:45"
    )


def step_of(ts: Int64Array) -> int:
    """The median distance of neighbouring stamps, in ns; 0 for less than two bars."""
    steps = np.diff(np.unique(ts))
    return int(np.sort(steps)[len(steps) // 2]) if len(steps) else 0


def length(step: int) -> str:
    """A number of nanoseconds in the largest unit that it is a multiple of."""
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s")):
        if step and step % size == 0:
            return f"{step // size}{unit}"
    return f"{step} ns"


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


def simplest(path: Path, reading: Reading, end: Path | None, given: ReadingOptions) -> Reading:
    """The same bars with as few options as they need.

    end: the end of the file, if it is read apart: options that it needs stay. given: options that a person
    gave, which stay too: the part that was looked at does not tell what the rest needs.
    """
    without_times = {
        name: value
        for name, value in reading.options.items()
        if name not in ("ts_format", "tz") or name in given
    }
    reading = _if_same(path, reading, without_times, end)
    for name in reading.options:
        if (
            (name in given and name != "columns")
            or (name == "columns" and _roles_of(given))
            or (name == "time" and "date" in reading.options)
        ):
            continue
        fewer = {key: value for key, value in reading.options.items() if key != name}
        if name == "date":
            fewer.pop("time", None)
        reading = _if_same(path, reading, fewer, end)
    columns = reading.options.get("columns", "")
    for pair in columns.split(",") if isinstance(columns, str) else ():
        if "=" in pair and pair != columns and pair.partition("=")[0] not in _roles_of(given):
            kept = ",".join(one for one in reading.options["columns"].split(",") if one != pair)
            reading = _if_same(path, reading, {**reading.options, "columns": kept}, end)
    return reading


def _roles_of(given: ReadingOptions) -> set[str]:
    """The bar columns that a person named."""
    columns = parse_columns(given.get("columns"), separate_stamps=bool(given.get("date")))
    return {*columns.named, *columns.order, *([] if columns.has_volume else ["volume"])}


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
