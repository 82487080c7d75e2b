"""A run as one page that needs nothing beside it: figures, equity and drawdown, fills, and the proof."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from qmtl.foundation.html import facts_table, table
from qmtl.foundation.timeline import Int64Array
from qmtl.foundation.times import iso
from qmtl.runtime.replay.bars import Unclean
from qmtl.runtime.replay.equity import Float64Array, drawdowns
from qmtl.runtime.replay.run import Outcome
from qmtl.runtime.sdk.proof import Proof

_WIDTH, _LEFT, _RIGHT = 960, 90, 12
# How many columns of a plot have points of their own, and how many lines cross it.
_COLUMNS, _LINES = 800, 4

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2733; background: #fff; }
body { max-width: 980px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.1em; margin-top: 1.8em; }
th, td { padding: 1px 14px 1px 0; } td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: #5b6775; }
"""


def page(
    summary: Sequence[tuple[str, str]], outcome: Outcome, unclean: Sequence[Unclean], proof: Proof
) -> str:
    """The whole page. summary: its first fact is the name of the strategy, which is the title here."""
    name, marks = escape(proof.strategy), outcome.marks
    parts = [
        "<!doctype html>",
        f"<html lang='en'><head><meta charset='utf-8'><title>{name}</title>",
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{name}</h1>",
        facts_table(summary[1:]),
    ]
    if len(marks.ts):
        parts += [
            "<h2>Equity</h2>",
            plot(marks.ts, marks.equity, unclean, height=280, percent=False),
            "<h2>Drawdown</h2>",
            plot(marks.ts, drawdowns(marks.equity), unclean, height=140, percent=True),
        ]
    if unclean:
        head = ("series", "from", "to", "what")
        rows = [(one.series, iso(one.span.start), iso(one.span.end), one.what) for one in unclean]
        parts += ["<h2>Bars that were not clean</h2><p>Marked in the plots.</p>", table(head, rows)]
    fills = [
        (iso(fill.ts), str(fill.series), f"{fill.units:+,.6g}", f"{fill.price:,.6g}", f"{fill.fee:,.2f}",
         f"{fill.cash:,.2f}")
        for fill in outcome.fills
    ]  # fmt: skip
    parts += [
        "<h2>Fills</h2>",
        table(("at", "series", "units", "price", "fee", "cash after"), fills) if fills else "<p>None.</p>",
        "<h2>Proof</h2>",
        facts_table(proof.lines()),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def plot(
    ts: Int64Array, values: Float64Array, unclean: Sequence[Unclean], *, height: int, percent: bool
) -> str:
    """A line over time as SVG, with a band for bars that were not clean. percent: values are fractions."""
    first, last = int(ts[0]), max(int(ts[-1]), int(ts[0]) + 1)
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-12 * max(abs(high), 1.0):
        low, high = low - max(abs(low) * 0.01, 0.01), high + max(abs(high) * 0.01, 0.01)
    top, bottom, right = 8, height - 22, _WIDTH - _RIGHT

    def x(at: float) -> float:
        return _LEFT + (right - _LEFT) * (min(max(at, first), last) - first) / (last - first)

    def y(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / (high - low)

    drawn = []
    for one in unclean:
        left, width = x(one.span.start), max(x(one.span.end) - x(one.span.start), 2.0)
        drawn.append(
            f"<rect x='{left:.1f}' y='{top}' width='{width:.1f}' height='{bottom - top}' fill='#f2a33a' "
            f"fill-opacity='0.45'><title>{escape(f'{one.series}: {one.what}')}</title></rect>"
        )
    for step in range(_LINES + 1):
        value = low + (high - low) * step / _LINES
        label = f"{value:.1%}" if percent else f"{value:,.0f}" if high - low >= 10 else f"{value:,.4g}"
        drawn.append(
            f"<line x1='{_LEFT}' x2='{right}' y1='{y(value):.1f}' y2='{y(value):.1f}' stroke='#dde3ea'/>"
            f"<text x='{_LEFT - 6}' y='{y(value) + 4:.1f}' text-anchor='end'>{label}</text>"
        )
    for step, anchor in ((0, "start"), (1, "middle"), (2, "middle"), (3, "middle"), (_LINES, "end")):
        at = first + (last - first) * step // _LINES
        shown = iso(at)[:16].replace("T", " ")
        drawn.append(f"<text x='{x(at):.1f}' y='{height - 6}' text-anchor='{anchor}'>{shown}</text>")
    points = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in _thinned(ts, values))
    drawn.append(f"<polyline points='{points}' fill='none' stroke='#1f6fb2' stroke-width='1.4'/>")
    return f"<svg viewBox='0 0 {_WIDTH} {height}' role='img'>{''.join(drawn)}</svg>"


def _thinned(ts: Int64Array, values: Float64Array) -> list[tuple[int, float]]:
    """Of each column of the plot the lowest and the highest value, and the very first and last."""
    if len(ts) <= 2 * _COLUMNS:
        kept = np.arange(len(ts))
    else:
        edges = np.linspace(0, len(ts), _COLUMNS + 1).astype(np.int64)
        pairs = [
            (first + int(part.argmin()), first + int(part.argmax()))
            for first, part in zip(edges[:-1].tolist(), np.split(values, edges[1:-1]), strict=True)
        ]
        kept = np.unique([0, *(place for pair in pairs for place in pair), len(ts) - 1])
    return list(zip(ts[kept].tolist(), values[kept].tolist(), strict=True))
