"""The five states of a range as a bar of text: a pure picture, the same with and without colour."""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from rich.text import Text

from qmtl.foundation.states import BarStates
from qmtl.foundation.timeline import Coverage
from qmtl.foundation.times import iso

Nanoseconds = npt.NDArray[np.uint64]


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

# A single hole in a year must be seen, so a hole wins its cell, the worse one first ...
_HOLES = ("unknown", "absent")
# ... and among the rest the largest share of time does.
_SOUND = ("present", "no_trade", "closed")

NARROWEST = 10


def render(states: BarStates, width: int) -> Text:
    """The bar, its time axis, and a legend with the number of bars in each state.

    width: characters of the bar; at least 10. Each character is an equal part of the range. It shows
    `unknown` or `absent` if any of its time is, else the state that takes most of it.
    """
    width = max(width, NARROWEST)
    if states.span.is_empty:
        return Text(f"no bars in {states.span}")
    return Text("\n").join([_bar(states, width), _axis(states, width), *_legend(states)])


def cells(states: BarStates, width: int) -> list[str]:
    """The state that each of `width` characters shows."""
    span = states.span
    edges = np.array([span.length * i // width for i in range(width + 1)], dtype=np.uint64)
    share = {name: np.diff(_time_before(cells, span.start, edges)) for name, cells in states.items()}
    sound = np.argmax(np.stack([share[name] for name in _SOUND]), axis=0)
    shown = np.array(_SOUND, dtype=object)[sound]
    for name in reversed(_HOLES):
        shown[share[name] > 0] = name
    names: list[str] = shown.tolist()
    return names


def _time_before(cells: Coverage, origin: int, edges: Nanoseconds) -> Nanoseconds:
    """For each edge, how much of `cells` lies before it; edges count from `origin`.

    Unsigned, because a range may be longer than an int64 can count.
    """
    if not cells:
        return np.zeros(len(edges), dtype=np.uint64)
    starts = (cells.starts - origin).view(np.uint64)
    widths = (cells.ends - cells.starts).view(np.uint64)
    whole = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(widths)])
    i = np.searchsorted(starts, edges, side="right") - 1
    last = np.maximum(i, 0)
    within = np.minimum(edges - starts[last], widths[last])
    result: Nanoseconds = np.where(i < 0, np.uint64(0), whole[last] + within)
    return result


def _bar(states: BarStates, width: int) -> Text:
    bar = Text()
    for name, run in groupby(cells(states, width)):
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
    digits = max(len(f"{count:,}") for count in counts.values())
    lines = []
    for name, look in LOOKS.items():
        line = Text.assemble((look.glyph, look.style), f" {name:<8} {counts[name]:>{digits},} bars ")
        line.append(f"{_percent(counts[name], total):>7}  {look.meaning}", "dim")
        lines.append(line)
    return lines


def _percent(part: int, total: int) -> str:
    """Rounded, but never up to 100 % or down to 0 %: almost all is not all."""
    if part in (0, total):
        return f"{100 * part // total} %"
    return f"{min(max(100 * part / total, 0.01), 99.99):.2f} %"
