"""What a person should know before typing a line that a look proposes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from qmtl.foundation.series import Timeframe
from qmtl.runtime.io.bar_files.look.encodings import visible
from qmtl.runtime.io.bar_files.look.layout import Layout, fields_of
from qmtl.runtime.io.bar_files.look.looks import Column, Difference, bar_text
from qmtl.runtime.io.bar_files.look.roles import DOUBTFUL
from qmtl.runtime.io.bar_files.look.tables import Table
from qmtl.runtime.io.bar_files.look.times import forms_of
from qmtl.runtime.io.bar_files.look.trial import Reading, length
from qmtl.runtime.io.bar_files.spacing import advice_on_spacing

_SHOWN_DIFFERENCES = 2


def differences(readings: Sequence[Reading], lines: Sequence[str]) -> Iterator[Difference]:
    """The first rows that are not the same bar under all readings."""
    if len(readings) < 2:
        return
    shown = 0
    for row in range(min(one.frame.height for one in readings)):
        meanings = tuple(bar_text(one, row) for one in readings)
        if len(set(meanings)) > 1 and shown < _SHOWN_DIFFERENCES:
            line = int(readings[0].lines[row])
            yield Difference(
                readings[0].place, line, visible(lines[line - 1]) if line <= len(lines) else "", meanings
            )
            shown += 1


def advice(readings: Sequence[Reading], timeframe: Timeframe | None) -> Iterator[str]:
    """Cautions about what no file can show."""
    first = readings[0]
    if timeframe is not None and first.step and first.step != timeframe.step:
        distance = advice_on_spacing(first.frame["ts"].to_numpy().view("int64"), timeframe)
        yield distance or f"the series is of {timeframe} bars, and the rows are {length(first.step)} apart"
    if first.timeframe.is_intraday and "label" not in first.options:
        yield "stamps were taken for the open of their bars; if they are the close, add `label=close`"
    if "volume=" in str(first.options.get("columns", "")).split(","):
        yield "no column was taken for the volume: `columns='volume='` declares that the source has none"
    for rule, count in first.impossible.items():
        yield f"{count} of the {first.frame.height} rows seen break {rule}, and an import would refuse them"


def cut_bar(table: Table, readings: Sequence[Reading]) -> Iterator[str]:
    """A bar that was cut off at the end of the file, and that a line leaves out as if it were no bar."""
    layout = table.layout
    if layout is None or not layout.foot or not any("skip_foot" in one.options for one in readings):
        return
    line = table.end_lines[-1]
    first, last = fields_of(line, layout.separator)[:1], layout.rows[-1][:1]
    if not first or not any(map(str.isdigit, first[0])):
        return
    if _mask(last[0]).startswith(_mask(first[0])):
        yield (
            f"the last line looks like a bar that was cut off, and `skip_foot={layout.foot}` leaves it out: "
            f"{visible(line)!r}; if the file should go on, fetch it again"
        )


def advice_on_volume(columns: Sequence[Column], reading: Reading) -> Iterator[str]:
    """A volume that was taken only because nothing else was."""
    for column in columns:
        if column.role == "volume" and column.why == DOUBTFUL:
            yield (
                f"that {column.name or f'column {column.place + 1}'!r} is the volume follows from "
                "nothing but its numbers; if the source has none, write volume= in its place in `columns=`"
            )


def several_forms(table: Table, layout: Layout, columns: Sequence[Column]) -> Iterator[str]:
    """Times of one column that are written in several ways, with the first row of each."""
    for column in columns:
        texts = layout.column(column.place)
        if column.role == "ts" and 1 < len(forms := forms_of(texts)) < _MANY:
            shown = ", ".join(repr(texts[places[0]]) for places in forms.values())
            yield f"times are written in {len(forms)} ways: {shown}"


_MANY = 5


def _mask(text: str) -> str:
    return re.sub(r"\d", "0", text)
