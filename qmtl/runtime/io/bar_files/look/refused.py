"""The look that is shown below a refusal: another command that reads the file, never the refused one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import Anchor, SeriesFacts
from qmtl.runtime.io.bar_files.look.looking import look_at
from qmtl.runtime.io.bar_files.look.looks import Look, arguments
from qmtl.runtime.io.bar_files.look.trial import Reading
from qmtl.runtime.io.bar_files.options import Reading as Options
from qmtl.runtime.io.bar_files.options import ReadingOptions

# Options for how the file is written: the file shows that, so what was given for them may be wrong. Other
# options, such as the zone or the conditions on rows, cannot be seen in a file, and stay as they were given.
_SEEN = ("ts_format", "decimal", "thousands", "null", "encoding", "skip_head", "skip_foot", "separator")
_COLUMNS = ("columns", "date", "time")


def look_below(
    path: str | Path,
    *,
    series: str | None,
    calendar: str | None,
    anchor: Anchor | None,
    given: ReadingOptions,
) -> Look | None:
    """A look at a file whose import was refused; None if it cannot be looked at.

    As few of the given options as possible are left out, and only those that can be seen in the file. No
    reading gives the same bars as the refused one.
    """
    given_options = {name: value for name, value in given.items() if value not in (None, "", 0, (), [], {})}
    refused = _Refused(SeriesFacts(calendar=calendar, anchor=anchor), _understood(given_options))
    first: Look | None = None
    for left_out in _fewest_first(given_options):
        rest = {name: value for name, value in given_options.items() if name not in left_out}
        try:
            look = look_at(
                path, series=series, calendar=calendar, anchor=anchor, **cast(ReadingOptions, rest)
            )
        except InvalidRequestError:
            continue
        first = first or look
        others = [place for place, one in enumerate(look.readings) if not refused.is_as(one)]
        if "ts_format" in left_out:
            others = _with_format(look, others, str(given_options["ts_format"]))
        if others:
            return _only(look, others, {name: given_options[name] for name in left_out})
    if first is None:
        try:
            first = look_at(path)
        except InvalidRequestError:
            return None
    if not first.columns:  # no table is seen, and the look says what is there instead
        return first
    unchanged = arguments(
        {name: value for name, value in given_options.items() if name not in (*_SEEN, *_COLUMNS)}
    )
    return replace(
        first, readings=(), differences=(), cautions=(), refusal=None, next_step=_no_way(unchanged)
    )


@dataclass
class _Refused:
    """The line that was refused, and the bars that it reads, once a look has seen them."""

    facts: SeriesFacts
    options: Options | None
    frames: list[pl.DataFrame] = field(default_factory=list)

    def is_as(self, reading: Reading) -> bool:
        if reading.facts != self.facts:
            return False
        if _understood(reading.options) == self.options:
            self.frames.append(reading.frame)
        return any(reading.frame.equals(frame) for frame in self.frames)


def _understood(options: Mapping[str, Any]) -> Options | None:
    try:
        return Options.of(cast(ReadingOptions, dict(options)))
    except InvalidRequestError:
        return None


def _fewest_first(given_options: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Which given options to leave out: none, each one alone, all that can be seen in the file."""
    yield ()
    groups: list[tuple[str, ...]] = [(name,) for name in _SEEN if name in given_options]
    if columns := tuple(name for name in _COLUMNS if name in given_options):
        groups.append(columns)
    yield from groups
    if len(groups) > 1:
        yield tuple(name for group in groups for name in group)


def _with_format(look: Look, places: list[int], form: str) -> list[int]:
    """The readings in which a format that was given is one of several, if there are any; else all."""
    given = set(form.split("|"))
    keep = [
        place
        for place in places
        if given <= set(look.readings[place].options.get("ts_format", "").split("|"))
    ]
    return keep or places


def _only(look: Look, places: list[int], left_out: Mapping[str, Any]) -> Look:
    """The look with some of its readings."""
    differences = look.differences if len(places) > 1 else ()
    cautions = look.cautions
    if left_out:
        cautions = (*cautions, f"left out of what was typed: {' '.join(arguments(left_out))}")
    return replace(
        look,
        readings=tuple(look.readings[place] for place in places),
        differences=tuple(
            replace(one, meanings=tuple(one.meanings[place] for place in places)) for one in differences
        ),
        cautions=cautions,
    )


def _no_way(unchanged: list[str]) -> str:
    stays = f" ({' '.join(unchanged)} stays as it was said, for no file tells it)" if unchanged else ""
    return f"no other line is proposed: what stands in the way is named above{stays}"
