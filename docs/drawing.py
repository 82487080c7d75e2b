"""Boxes and arrows as an SVG, for the diagrams of the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import NamedTuple

SANS = "system-ui, 'DejaVu Sans', Helvetica, Arial, sans-serif"


class Box(NamedTuple):
    """A rectangle with a bold first line; x, y, w, h in pixels."""

    x: int
    y: int
    w: int
    h: int
    lines: tuple[str, ...]
    fill: str = "#ffffff"


class Arrow(NamedTuple):
    """A line through points, with a head at its end and words beside its middle."""

    points: tuple[tuple[int, int], ...]
    words: str = ""
    dashed: bool = False
    at: tuple[int, int] | None = None


BOLD, PLAIN = 'font-weight="600" fill="#112"', 'font-size="12" fill="#334"'
TEAL, SAND, BLUE, ROSE, GREY = "#d5f0ec", "#fff3d6", "#dfeafb", "#fde2e0", "#f2f2f2"


def diagram(width: int, height: int, title: str, parts: list[Box | Arrow]) -> str:
    """Boxes and arrows as an SVG on a white ground, readable on light and dark pages."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}" font-family="{SANS}" font-size="13">\n'
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#334"/></marker></defs>\n'
        f'<rect width="{width}" height="{height}" rx="8" fill="#fdfdfd"/>\n'
    )
    return head + "".join(line + "\n" for part in parts for line in _drawn(part)) + "</svg>\n"


def _drawn(part: Box | Arrow) -> Iterator[str]:
    if isinstance(part, Box):
        yield (
            f'<rect x="{part.x}" y="{part.y}" width="{part.w}" height="{part.h}" rx="6" '
            f'fill="{part.fill}" stroke="#445"/>'
        )
        middle, step = part.x + part.w // 2, 17
        top = part.y + part.h // 2 - (len(part.lines) - 1) * step // 2 + 5
        for number, line in enumerate(part.lines):
            look = BOLD if number == 0 else PLAIN
            yield text(middle, top + number * step, line, look)
        return
    path = " L".join(f"{x} {y}" for x, y in part.points)
    dash = ' stroke-dasharray="5 4"' if part.dashed else ""
    yield f'<path d="M{path}" fill="none" stroke="#334" stroke-width="1.4"{dash} marker-end="url(#head)"/>'
    if part.words:
        (ax, ay), (bx, by) = part.points[0], part.points[1]
        x, y = part.at or ((ax + bx) // 2, (ay + by) // 2 - 6)
        yield text(x, y, part.words, PLAIN)


def text(x: int, y: int, words: str, look: str, *, anchor: str = "middle") -> str:
    """Words at a place; anchor: whether that is their start, middle or end."""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" {look}>{escape(words)}</text>'
