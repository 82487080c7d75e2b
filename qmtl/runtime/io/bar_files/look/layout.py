"""How lines of text form a table: what separates fields, where the rows begin and end, what names columns."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from qmtl.runtime.io.bar_files.look.values import is_nothing, is_numeric

_SEPARATORS = ("\t", ";", "|", ",", " ")
# Four prices at least; a stamp and a volume need not look like numbers.
_NUMBERS = 4


@dataclass(frozen=True)
class Layout:
    """A way to take lines for a table.

    separator: one character. above: lines before the first row, from line 1, as fields.
    header: which of them names the columns, None if none does. names: of the columns, by place; "" where a
        column has none. rows: fields of each row, all of one width. first: the line of the first row, from 1.
    foot: lines behind the last row. unlike: the first line above or below the rows that looks like one of
        them, and is written otherwise; None if there is none.
    """

    separator: str
    above: tuple[tuple[str, ...], ...]
    header: int | None
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    first: int
    foot: int
    unlike: tuple[str, ...] | None = None

    @property
    def width(self) -> int:
        return len(self.rows[0])

    @property
    def skip_head(self) -> int:
        """Lines to leave out, so that the header, or else the first row, comes first."""
        header = self.header
        if header is not None and self.is_plain:
            return 0 if all(not any(line) for line in self.above[:header]) else header
        return self.first - 1

    @property
    def is_plain(self) -> bool:
        """Whether the header stands right above the rows and fits them: a reader can use its names."""
        if self.header is None:
            return False
        between = self.above[self.header + 1 :]
        return not any(any(line) for line in between) and len(self.above[self.header]) == self.width

    def column(self, place: int) -> list[str]:
        return [row[place] for row in self.rows]


def layout_of(
    lines: Sequence[str], *, end: Sequence[str] = (), separator: str | None = None
) -> Layout | None:
    """The layout in which most lines are rows; None if there is none.

    lines: of the start of a file. end: of its end, if that is not among them.
    """
    found = [_under(mark, lines, end) for mark in ((separator,) if separator else _SEPARATORS)]
    layouts = [layout for layout in found if layout is not None]
    # In the order of the separators: a file of tabs or semicolons may hold commas in its fields.
    return max(layouts, key=lambda layout: len(layout.rows), default=None)


def fields_of(line: str, separator: str) -> tuple[str, ...]:
    """The fields of one line; blanks around them do not count."""
    if separator == " ":  # columns that are aligned by more of them
        line = re.sub(" {2,}", " ", line.strip(" "))
    try:
        return tuple(field.strip() for field in next(csv.reader([line], delimiter=separator), []))
    except csv.Error:  # a quoted field without end, or a line end inside one
        return (line,)


def _under(separator: str, lines: Sequence[str], end: Sequence[str]) -> Layout | None:
    table = [fields_of(line, separator) for line in lines]
    widths = Counter(len(fields) for fields in table if _is_row(fields))
    if not widths:
        return None
    width = widths.most_common(1)[0][0]
    places = [number for number, fields in enumerate(table) if len(fields) == width and _is_row(fields)]
    first = places[0]
    rows = tuple(table[number] for number in places)
    header = _header(table[:first], width)
    tail = [fields_of(line, separator) for line in end] if end else table
    names = table[header] if header is not None else ()
    foot = _foot(tail, width)
    return Layout(
        separator=separator,
        above=tuple(table[:first]),
        header=header,
        names=tuple(names[place] if place < len(names) else "" for place in range(width)),
        rows=rows,
        first=first + 1,
        foot=foot,
        unlike=_unlike(table[:first], _without_blanks(tail)[-foot:] if foot else [], rows[-1]),
    )


def _is_row(fields: Sequence[str]) -> bool:
    """Whether there are numbers enough, or nothing where numbers would stand beside a stamp."""
    numbers = sum(is_numeric(field) for field in fields)
    if numbers >= _NUMBERS:
        return True
    empty = sum(is_nothing(field) for field in fields[1:])
    return bool(fields) and any(c.isdigit() for c in fields[0]) and numbers + empty >= _NUMBERS


def _header(above: Sequence[Sequence[str]], width: int) -> int | None:
    """The line that names most columns; the first of them, as what stands below explains it."""
    named = [sum(any(c.isalpha() for c in field) for field in fields) for fields in above]
    fitting = [
        (number, count)
        for number, (fields, count) in enumerate(zip(above, named, strict=True))
        if abs(len(fields) - width) <= 1 and count >= _NUMBERS and not fields[0].startswith("#!")
    ]
    if not fitting:
        return None
    most = max(len(set(above[number])) for number, _ in fitting)
    return next(number for number, _ in fitting if len(set(above[number])) == most)


def _foot(table: Sequence[tuple[str, ...]], width: int) -> int:
    """Lines at the end that are no rows; blank ones at the very end need not be skipped."""
    table = _without_blanks(table)
    count = 0
    for fields in reversed(table):
        if len(fields) == width and _is_row(fields):
            break
        count += 1
    return count if count < len(table) else 0


def _without_blanks(table: Sequence[tuple[str, ...]]) -> Sequence[tuple[str, ...]]:
    """The lines up to the last that holds something."""
    while table and not any(table[-1]):
        table = table[:-1]
    return table


def _unlike(
    above: Sequence[tuple[str, ...]], below: Sequence[tuple[str, ...]], row: Sequence[str]
) -> tuple[str, ...] | None:
    """The first line around the rows that looks like a row. A single shorter one at the end was cut off."""
    if len(below) == 1 and len(below[0]) <= len(row):
        below = []
    return next((fields for fields in (*above, *below) if _is_row(fields) or _is_alike(fields, row)), None)


def _is_alike(fields: Sequence[str], row: Sequence[str]) -> bool:
    """Whether a line starts with a stamp that is written as in a row, and goes on."""
    stamp, other = (re.sub(r"\d+", "0", one[0]) for one in (fields or ("",), row))
    return len(fields) > 2 and "0" in stamp and stamp == other
