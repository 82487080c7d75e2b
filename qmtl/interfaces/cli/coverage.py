"""`qmtl coverage`: the five states of a range, as a picture or as spans."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from qmtl.interfaces.cli.arguments import AsOf, End, Series, Start
from qmtl.interfaces.cli.session import JsonToo, instant, session_of

if TYPE_CHECKING:
    from rich.console import RenderableType

# Holes that are listed one by one below the bar.
SHOWN = 10
# A bar that is wider than this is hard to take in at a glance.
WIDEST = 100


def coverage(
    ctx: typer.Context,
    series: Series,
    start: Start,
    end: End = None,
    as_of: AsOf = None,
    json: JsonToo = False,
) -> None:
    """What is known of each bar in [START, END); asks no vendor."""
    from qmtl.foundation.words import counted
    from qmtl.interfaces.cli.coverage_bar import plain, render, shown_in, styled
    from qmtl.interfaces.cli.showing import states_json

    session = session_of(ctx)
    with session.provider(make=False) as provider:
        states = provider.coverage(series, instant(start), instant(end), as_of=instant(as_of))
    width = WIDEST if session.is_plain else min(session.console().width, WIDEST)
    bar = shown_in(getattr(session.stream, "encoding", None) or "utf-8", render(states, width))
    lines: list[RenderableType] = [f"{series} {states.span}"]
    lines += map(plain if session.is_plain else styled, bar)
    for what, cells in (("hole", states.holes), ("damaged", states.damaged)):
        lines += [
            f"{what}  {span}  {counted(states.grid.count(cells.clip(span)), 'bar')}"
            for span in cells.spans[:SHOWN]
        ]
        if len(cells) > SHOWN:
            lines.append(f"... {len(cells) - SHOWN:,} more; --json lists all")
    if states.damaged:
        lines.append("what was stored in the damaged ranges is lost; 'qmtl store verify' says more")
    session.show(*lines)
    if session.json:
        session.emit({"series": series, **states_json(states)})
