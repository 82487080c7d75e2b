"""The five states of a range as a bar of equal parts, and as a picture of it for web pages."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Protocol

import numpy as np
import numpy.typing as npt

from qmtl.foundation.html import escaped
from qmtl.foundation.instants import Span, iso
from qmtl.foundation.timeline import Coverage
from qmtl.foundation.words import counted


class StatesOfRange(Protocol):
    """What is drawn: a range, the cells of each state in it, and the number of bars in each."""

    @property
    def span(self) -> Span: ...

    @property
    def counts(self) -> dict[str, int]: ...

    def items(self) -> Iterator[tuple[str, Coverage]]: ...


Nanoseconds = npt.NDArray[np.uint64]

# A single hole in a year must be seen, so a hole wins its cell, the worse one first ...
_HOLES = ("unknown", "absent")
# ... and among the rest the largest share of time does.
_SOUND = ("present", "no_trade", "closed")


# How a state is drawn, and what it means. Mid-tones of different lightness: they stand out from white and
# from black, and from each other without colour.
COLOURS = {
    "present": ("#2e9e5b", "a row is there"),
    "no_trade": ("#6fc3d8", "the source answered: nothing traded"),
    "closed": ("#9a9a9a66", "the calendar expects no bar"),
    "absent": ("#e0a106", "the source says that it has none"),
    "unknown": ("#d6336c", "nobody has answered yet"),
}
PARTS = 200


def states_html(states: StatesOfRange) -> str:
    """The bar as inline SVG, its ends, and a legend with the number of bars in each state. No script."""
    start, end = states.span
    ends = f"<span>{iso(start)}</span><span>{iso(end)}</span>"
    axis = f"<div style='display:flex;justify-content:space-between'>{ends}</div>"
    return f"<div style='max-width:50em'>{_svg(states)}{axis}</div>{_legend(states)}"


def _svg(states: StatesOfRange) -> str:
    if states.span.is_empty:
        return ""
    at, rects = 0, []
    for name, run in groupby(shown_states(states, PARTS)):
        width = len(list(run))
        rects.append(
            f"<rect x='{at}' y='0' width='{width}' height='10' fill='{COLOURS[name][0]}'>"
            f"<title>{name}</title></rect>"
        )
        at += width
    return (
        f"<svg viewBox='0 0 {PARTS} 10' preserveAspectRatio='none' role='img' "
        f"aria-label='{escaped(repr(states))}' "
        f"style='width:100%;height:1.6em;display:block' shape-rendering='crispEdges'>{''.join(rects)}</svg>"
    )


def _legend(states: StatesOfRange) -> str:
    counts = states.counts
    total = max(sum(counts.values()), 1)
    rows = "".join(
        f"<tr><td style='text-align:left'><span style='display:inline-block;width:0.9em;height:0.9em;"
        f"background:{colour}'></span> {name}</td>"
        f"<td style='text-align:right'>{counted(counts[name], 'bar')}</td>"
        f"<td style='text-align:right'>{percent(counts[name], total)}</td>"
        f"<td style='text-align:left'>{meaning}</td></tr>"
        for name, (colour, meaning) in COLOURS.items()
    )
    return f"<table style='color:inherit'>{rows}</table>"


def shown_states(states: StatesOfRange, width: int) -> list[str]:
    """The state that each of `width` equal parts of the range shows.

    That is `unknown` or `absent` if any of its time is, else the state that takes most of it.
    """
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


def percent(part: int, total: int) -> str:
    """Rounded, but never up to 100 % or down to 0 %: almost all is not all."""
    if part in (0, total):
        return f"{100 * part // total} %"
    return f"{min(max(100 * part / total, 0.01), 99.99):.2f} %"
