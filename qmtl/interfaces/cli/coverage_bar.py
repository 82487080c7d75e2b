"""The five states of a range as a bar of text: a pure picture, the same with and without colour."""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

from rich.text import Text

from qmtl.foundation.state_bar import percent, shown_states
from qmtl.foundation.states import BarStates
from qmtl.foundation.times import iso
from qmtl.foundation.words import counted


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


def shown_in(encoding: str, text: Text) -> Text:
    """The same with letters of ASCII, if the encoding lacks a glyph of the bar."""
    try:
        "".join(look.glyph for look in LOOKS.values()).encode(encoding)
    except UnicodeEncodeError:
        text = text.copy()
        text.plain = text.plain.translate(_ASCII)
    return text


def render(states: BarStates, width: int) -> Text:
    """The bar, its time axis, and a legend with the number of bars in each state.

    width: characters of the bar; at least 10. Each character is an equal part of the range. It shows
    `unknown` or `absent` if any of its time is, else the state that takes most of it.
    """
    width = max(width, NARROWEST)
    if states.span.is_empty:
        return Text(f"no bars in {states.span}")
    return Text("\n").join([_bar(states, width), _axis(states, width), *_legend(states)])


def _bar(states: BarStates, width: int) -> Text:
    bar = Text()
    for name, run in groupby(shown_states(states, width)):
        bar.append(LOOKS[name].glyph * len(list(run)), LOOKS[name].style)
    return bar


def _axis(states: BarStates, width: int) -> Text:
    """Start and end below the ends of the bar, and the middle where there is room."""
    start, end = states.span
    left, right, middle = iso(start), iso(end), iso(states.grid.floor(start + (end - start) // 2))
    if len(left) + len(right) + 1 > width:
        return Text(f"{left} to {right}", "dim")
    room = width - len(left) - len(right)
    return Text(left + (middle.center(room) if len(middle) + 4 <= room else " " * room) + right, "dim")


def _legend(states: BarStates) -> list[Text]:
    counts = states.counts
    total = max(sum(counts.values()), 1)
    width = max(len(counted(count, "bar")) for count in counts.values())
    lines = []
    for name, look in LOOKS.items():
        line = Text.assemble((look.glyph, look.style), f" {name:<8} {counted(counts[name], 'bar'):<{width}} ")
        line.append(f"{percent(counts[name], total):>7}  {look.meaning}", "dim")
        lines.append(line)
    return lines
