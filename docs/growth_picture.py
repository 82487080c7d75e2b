"""How the cost of a fetch grows with what a store holds, drawn from the tables of the page of benchmarks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from math import log10
from pathlib import Path
from typing import NamedTuple

from drawing import BOLD, PLAIN, SANS, text

PAGE = Path(__file__).parent / "benchmarks.md"
_WIDTH, _HEIGHT = 940, 350
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 580, 56, 290
# Powers of ten that the axes reach: of what is stored, and of what a fetch takes.
_X_TENS, _Y_TENS = 5, 2
_COLOURS = ("#1d8a7c", "#2f62a8", "#b9770e", "#b5423c")


class Curve(NamedTuple):
    """name: what there is more of. fetch, first: ms of a fetch, and of the first of a process, by size."""

    name: str
    fetch: list[tuple[int, float]]
    first: list[tuple[int, float]]


def growth() -> str:
    """One line for each table: cost against size, both as multiples of the smallest store."""
    curves = curves_in(PAGE.read_text(encoding="utf-8"))
    return "\n".join(["".join(_head()), *_axes(), *_lines(curves), "</svg>\n"])


def curves_in(document: str) -> list[Curve]:
    """What the tables between the markers say."""
    tables = document.partition("<!-- growth: begin -->")[2].partition("<!-- growth: end -->")[0]
    return [_curve(*section.split("\n", 1)) for section in tables.split("\n### ")[1:]]


def _curve(name: str, table: str) -> Curve:
    heading, _, *rows = (
        [cell.strip() for cell in line.strip("| ").split("|")] for line in re.findall(r"^\|.*$", table, re.M)
    )
    columns = (heading.index("fetch"), heading.index("first fetch"))
    fetch, first = ([(_number(row[0]), _number(row[column])) for row in rows] for column in columns)
    return Curve(name, [(int(size), ms) for size, ms in fetch], [(int(size), ms) for size, ms in first])


def _number(cell: str) -> float:
    return float(cell.split()[0].replace(",", ""))


def _head() -> Iterator[str]:
    title = "A fetch of 1,000 bars takes as long in a large store as in a small one"
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}" font-family="{SANS}" font-size="13">\n'
    )
    yield f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="8" fill="#fdfdfd"/>'


def _axes() -> Iterator[str]:
    for ten in range(_X_TENS + 1):
        x = _x(10**ten)
        yield f'<path d="M{x} {_TOP} L{x} {_BOTTOM}" stroke="#dde"/>'
        yield text(x, _BOTTOM + 20, f"{10**ten:,}", PLAIN)
    for ten in range(_Y_TENS + 1):
        y = _y(10**ten)
        yield f'<path d="M{_LEFT} {y} L{_RIGHT} {y}" stroke="#dde"/>'
        yield text(_LEFT - 22, y + 4, f"{10**ten:,} x", PLAIN)
    yield text((_LEFT + _RIGHT) // 2, _BOTTOM + 44, "times as much in the store", PLAIN)
    yield text((_LEFT + _RIGHT) // 2, _TOP - 24, "a fetch of 1,000 bars takes so many times as long", BOLD)
    end = 10**_Y_TENS
    yield f'<path d="M{_x(1)} {_y(1)} L{_x(end)} {_y(end)}" stroke="#889" stroke-dasharray="2 5"/>'
    yield text(_x(end) + 74, _y(end) + 16, "as much as is stored", PLAIN)


def _lines(curves: list[Curve]) -> Iterator[str]:
    left = _RIGHT + 40
    for number, (curve, colour) in enumerate(zip(curves, _COLOURS, strict=True)):
        yield _line(curve.fetch, colour)
        yield _line(curve.first, colour, dash=' stroke-dasharray="6 4"')
        y = _TOP + 10 + 54 * number
        (small, before), (large, after) = curve.fetch[0], curve.fetch[-1]
        yield f'<rect x="{left}" y="{y - 9}" width="12" height="12" rx="2" fill="{colour}"/>'
        yield text(left + 20, y + 2, curve.name, BOLD, anchor="start")
        says = f"{small:,} to {large:,}: {before:.2f} to {after:.2f} ms"
        yield text(left + 20, y + 20, says, PLAIN, anchor="start")
    y = _TOP + 10 + 54 * len(curves)
    yield f'<path d="M{left} {y} L{left + 34} {y}" stroke="#445" stroke-dasharray="6 4"/>'
    yield text(left + 44, y + 4, "the first fetch of a process from a series", PLAIN, anchor="start")


def _line(points: list[tuple[int, float]], colour: str, *, dash: str = "") -> str:
    (small, least), *_ = points
    places = [(_x(size / small), _y(ms / least)) for size, ms in points]
    path = " L".join(f"{x} {y}" for x, y in places)
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places)
    return f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dash}/>{dots}'


def _x(times: float) -> int:
    return round(_LEFT + (_RIGHT - _LEFT) * log10(times) / _X_TENS)


def _y(times: float) -> int:
    # Somewhat faster than in the smallest store is drawn below the lowest line, where there is room for it.
    return round(_BOTTOM - 20 - (_BOTTOM - 20 - _TOP) * log10(times) / _Y_TENS)
