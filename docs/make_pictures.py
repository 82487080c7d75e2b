"""Makes the pictures of the documentation: terminals from real runs, diagrams, a chart from a table.

    python docs/make_pictures.py [FOLDER]

Same code, same bytes: a test compares what this makes with what is checked in.
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drawing import BLUE, GREY, ROSE, SAND, TEAL, Arrow, Box, diagram
from growth_picture import growth
from lease_picture import leases
from rich.console import Console, RenderableType
from rich.text import Text

from qmtl import BarStates, Coverage, SeamlessDataProvider, Span
from qmtl.foundation.times import iso, to_ns
from qmtl.interfaces.cli.coverage_bar import render, styled
from qmtl.runtime.testing import ScriptedVendor

FOLDER = Path(__file__).parent / "en" / "pictures"
COLUMNS = 96
MONOSPACE = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"


# -- terminal pictures -----------------------------------------------------------------------------------


def terminal(title: str, *lines: RenderableType) -> str:
    """What a terminal of `COLUMNS` shows, as an SVG without fonts from elsewhere."""
    console = Console(
        record=True,
        width=COLUMNS,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
        _environ={},  # NO_COLOR, TERM and COLUMNS of whoever runs this change nothing
    )
    console.print(*lines, sep="\n", markup=False)
    svg = console.export_svg(title=title, unique_id="qmtl")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return re.sub(r"Fira Code(, monospace)?", MONOSPACE, svg)


def coverage() -> str:
    """All five states in one picture: two weeks of hours of a series that trades as currencies do."""
    series = "ohlcv:demo:EUR/USD:1h"
    vendor = ScriptedVendor(
        no_trade=_hours("2024-03-05T20", "2024-03-06T10"), absent=_hours("2024-03-11T02", "2024-03-11T14")
    )
    with _provider(vendor, "FX") as sdp:
        sdp.fetch(series, "2024-03-03", "2024-03-14T12:00Z", partial_ok=True)
        states = sdp.coverage(series, "2024-03-03", "2024-03-17")
    return terminal("qmtl coverage", *_shown(series, states))


def _shown(series: str, states: BarStates) -> tuple[Text, ...]:
    """The command, and what it prints."""
    start, end = map(iso, states.span)
    command = Text(f"$ qmtl coverage {series} {start} {end}", "dim")
    return command, Text(f"{series} {states.span}"), *map(styled, render(states, COLUMNS))


@contextmanager
def _provider(vendor: ScriptedVendor, calendar: str) -> Iterator[SeamlessDataProvider]:
    with (
        tempfile.TemporaryDirectory() as store,
        SeamlessDataProvider(store, vendors=vendor, calendars={"*": calendar}) as provider,
    ):
        yield provider


def _hours(start: str, end: str) -> Coverage:
    return Coverage([Span(to_ns(f"{start}:00Z"), to_ns(f"{end}:00Z"))])


def healed() -> str:
    """A range before and after a hole was asked for again."""
    series = "ohlcv:demo:BTC/USDT:1m"
    start, hole, end = "2024-01-01", "2024-01-01T17:00Z", "2024-01-02"
    with _provider(ScriptedVendor(), "24x7") as sdp:
        sdp.fetch(series, start, "2024-01-01T11:30Z")
        sdp.fetch(series, hole, end)
        before = sdp.coverage(series, start, end)
        asked = sdp.fetch(series, start, end).receipt
        after = sdp.coverage(series, start, end)
    served = [f"{name:<12} {value}" for name, value in asked.lines() if name == "served by"]
    return terminal(
        "a hole, healed",
        *_shown(series, before),
        Text(f"\n$ qmtl fetch {series} {start} {end}", "dim"),
        *served,
        "",
        *_shown(series, after),
    )


# -- diagrams --------------------------------------------------------------------------------------------


def request() -> str:
    """The walk of one request."""
    y, h = 130, 62
    return diagram(
        940,
        420,
        "The walk of one request: cache, storage, backfill, live, answer",
        [
            Box(
                20,
                20,
                900,
                62,
                (
                    "planner: next_step(state), advance(state, event)",
                    "pure: decides which tier is asked next, and when it is over; never waits or reads",
                ),
                TEAL,
            ),
            Box(20, y, 130, h, ("cache", "ranges in memory"), BLUE),
            Box(200, y, 150, h, ("storage", "rows, answers, flags"), BLUE),
            Box(400, y, 130, h, ("sync gap?", "a bound, not a wait"), SAND),
            Box(580, y, 150, h, ("backfill", "claim, ask, check,", "commit"), BLUE),
            Box(780, y, 140, h, ("live", "the newest bars,", "as they close"), BLUE),
            Arrow(((150, 161), (200, 161)), "miss"),
            Arrow(((350, 161), (400, 161)), "holes"),
            Arrow(((530, 161), (580, 161)), "small"),
            Arrow(((730, 161), (780, 161)), "tail"),
            Arrow(
                ((655, 192), (655, 224), (290, 224), (290, 192)),
                "read again: an answer is always what the store holds",
                at=(470, 218),
            ),
            Arrow(((850, 192), (850, 240), (260, 240), (260, 192))),
            Box(20, 300, 200, 72, ("assemble", "frame, five states,", "marked fills on request"), TEAL),
            Box(270, 300, 210, 72, ("conformance", "rules, report, digest,", "archive"), TEAL),
            Box(530, 300, 170, 72, ("result", "frame, coverage,", "receipt, report"), GREY),
            Box(750, 300, 170, 72, ("error", "SLA, source, missing,", "conformance; first wins"), ROSE),
            Arrow(((85, 192), (85, 300)), "all there", at=(52, 250)),
            Arrow(((220, 192), (220, 270), (150, 270), (150, 300)), "complete", at=(186, 264)),
            Arrow(((220, 336), (270, 336))),
            Arrow(((480, 336), (530, 336))),
            Arrow(
                ((480, 360), (505, 360), (505, 396), (835, 396), (835, 372)),
                "holes or findings, and not partial_ok",
                at=(660, 390),
            ),
            Arrow(
                ((465, 130), (465, 108), (932, 108), (932, 336), (920, 336)),
                "larger than the policy allows",
                dashed=True,
                at=(700, 102),
            ),
        ],
    )


def layers() -> str:
    """The packages, and which may import which."""
    return diagram(
        940,
        502,
        "The layers of the package; imports go only downward",
        [
            Box(20, 20, 900, 52, ("interfaces", "cli, demo"), SAND),
            Box(20, 100, 900, 278, (" ",), GREY),
            Box(40, 115, 560, 40, ("sdk: provider, executor, answers, receipts, importing",), BLUE),
            Box(40, 167, 560, 40, ("ingest: pages, files and feeds become writes",), BLUE),
            Box(40, 219, 560, 40, ("coordination: who works on which shard",), BLUE),
            Box(40, 271, 560, 40, ("io: cache, store, vendors, bar files",), BLUE),
            Box(40, 323, 173, 40, ("planning: pure",), TEAL),
            Box(233, 323, 174, 40, ("conformance: pure",), TEAL),
            Box(427, 323, 173, 40, ("replay: pure",), TEAL),
            Box(
                640,
                115,
                260,
                248,
                (
                    "testing",
                    "simulated exchange, scripted",
                    "vendors, fake clock, suites",
                    "(ships with the package)",
                ),
                BLUE,
            ),
            Box(
                20,
                406,
                900,
                80,
                (
                    "foundation",
                    "spans and coverage, series and timeframes, grid, calendars, states",
                    "times, clock, errors, settings, metric catalog: pure, or nearly",
                ),
                TEAL,
            ),
            Arrow(((470, 72), (470, 100))),
            Arrow(((470, 378), (470, 406))),
        ],
    )


PICTURES = {
    "coverage": coverage,
    "healed": healed,
    "request": request,
    "layers": layers,
    "leases": leases,
    "growth": growth,
}


def make(folder: Path) -> None:
    """Write all pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in PICTURES.items():
        (folder / f"{name}.svg").write_text(picture(), encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
