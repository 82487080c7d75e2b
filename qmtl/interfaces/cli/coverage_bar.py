"""The five states of a range as a bar of text: a pure picture, the same with and without colour."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from qmtl.foundation.state_bar import percent, shown_states
from qmtl.foundation.states import BarStates
from qmtl.foundation.times import iso
from qmtl.foundation.words import counted

if TYPE_CHECKING:
    from rich.text import Text

# Texts with their styles, side by side.
Line: TypeAlias = list[tuple[str, str]]


class Look(NamedTuple):
    """How a state is drawn; glyphs differ, so that colours only help."""

    glyph: str
    style: str
    meaning: str


LOOKS = {
    "present": Look("█", "green", "a row is there"),
    "no_trade": Look("▒", "cyan", "the source answered: nothing traded"),
    "closed": Look("·", "bright_black", "the calendar expects no bar"),
    "absent": Look("×", "yellow", "the source says that it has none"),
    "unknown": Look("?", "bold red", "nobody has answered yet"),
}

# For where these cannot be shown: each would become a question mark, which means unknown.
_ASCII = str.maketrans("█▒·×", "#o.x")

NARROWEST = 10


def shown_in(encoding: str, lines: list[Line]) -> list[Line]:
    """The same with letters of ASCII, if the encoding lacks a glyph of the bar."""
    try:
        "".join(look.glyph for look in LOOKS.values()).encode(encoding)
    except UnicodeEncodeError:
        return [[(text.translate(_ASCII), style) for text, style in line] for line in lines]
    return lines


def plain(line: Line) -> str:
    """The texts of a line."""
    return "".join(text for text, _ in line)


def styled(line: Line) -> Text:
    """The line in colours."""
    from rich.text import Text  # only a terminal has them

    return Text.assemble(*line)


def render(states: BarStates, width: int) -> list[Line]:
    """The bar, its time axis, and a legend with the number of bars in each state: lines of texts and styles.

    width: characters of the bar; at least 10. Each character is an equal part of the range. It shows
    `unknown` or `absent` if any of its time is, else the state that takes most of it.
    """
    width = max(width, NARROWEST)
    if states.span.is_empty:
        return [[(f"no bars in {states.span}", "")]]
    return [_bar(states, width), _axis(states, width), *_legend(states)]


def _bar(states: BarStates, width: int) -> Line:
    return [
        (LOOKS[name].glyph * len(list(run)), LOOKS[name].style)
        for name, run in groupby(shown_states(states, width))
    ]


def _axis(states: BarStates, width: int) -> Line:
    """Start and end below the ends of the bar, and the middle where there is room."""
    start, end = states.span
    left, right, middle = iso(start), iso(end), iso(states.grid.floor(start + (end - start) // 2))
    if len(left) + len(right) + 1 > width:
        return [(f"{left} to {right}", "dim")]
    room = width - len(left) - len(right)
    return [(left + (middle.center(room) if len(middle) + 4 <= room else " " * room) + right, "dim")]


def _legend(states: BarStates) -> list[Line]:
    counts = states.counts
    total = max(sum(counts.values()), 1)
    width = max(len(counted(count, "bar")) for count in counts.values())
    return [
        [
            (look.glyph, look.style),
            (f" {name:<8} {counted(counts[name], 'bar'):<{width}} ", ""),
            (f"{percent(counts[name], total):>7}  {look.meaning}", "dim"),
        ]
        for name, look in LOOKS.items()
    ]
