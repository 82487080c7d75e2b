"""Several series in one file: which column tells them apart, and the condition that reads one of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from qmtl.runtime.io.bar_files.identity import identifies_series
from qmtl.runtime.io.bar_files.look.layout import Layout
from qmtl.runtime.io.bar_files.look.looks import Column
from qmtl.runtime.io.bar_files.look.names import place_of
from qmtl.runtime.io.bar_files.option_values import ANYTHING, condition_text, parse_where
from qmtl.runtime.io.bar_files.options import ReadingOptions

_SHOWN = 5


def condition(layout: Layout, used: Collection[int], symbol: str | None) -> tuple[str, ...]:
    """Conditions under which rows are of one series: of `symbol` if it is there, else of the first."""
    return tuple(
        condition_text(column_name(layout, place), symbol if symbol in values else values[0])
        for place in range(layout.width)
        if place not in used and (values := _values(layout, place))
    )


def matching_rows(layout: Layout, given: ReadingOptions) -> Layout:
    """The rows that meet the conditions of a person, if there are any."""
    rows = layout.rows
    for name, value in parse_where(given.get("where")).items():
        place = place_of(name, layout.names)
        if place is not None and value != ANYTHING:
            rows = tuple(row for row in rows if row[place] == value)
    return replace(layout, rows=rows) if rows else layout


def other_series(layout: Layout, columns: Sequence[Column]) -> Iterator[str]:
    """What else could be asked for."""
    used = {column.place for column in columns if column.role}
    for place in range(layout.width):
        if place not in used and (values := _values(layout, place)):
            shown = ", ".join(values[:_SHOWN]) + (", ..." if len(values) > _SHOWN else "")
            name = column_name(layout, place)
            each = f"each is a series of its own (`where='{condition_text(name, 'VALUE')}'`)"
            yield f"{name!r} has several values, and {each}: {shown}"


def column_name(layout: Layout, place: int) -> str:
    """The name by which options know a column."""
    return layout.names[place] if layout.is_plain and layout.names[place] else f"column {place + 1}"


def _values(layout: Layout, place: int) -> list[str]:
    """The values of a column that tells series apart, in the order of the file; none if it does not."""
    values = list(dict.fromkeys(text for text in layout.column(place) if text.strip()))
    return values if identifies_series(column_name(layout, place), values, len(layout.rows)) else []
