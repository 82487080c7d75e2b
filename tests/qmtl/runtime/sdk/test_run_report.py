"""A run as a page: whole, readable by any parser, and true to its numbers."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from qmtl import Bar, Portfolio, Runner, SeamlessDataProvider, Span, Strategy, StreamInput, import_frame
from qmtl.foundation.times import DAY, HOUR, iso, to_ns
from qmtl.runtime.replay.bars import Unclean
from qmtl.runtime.sdk.run_report import plot
from qmtl.runtime.testing import synthetic_bars

A = "ohlcv:mine:A&B:1h"
START, END = to_ns("2024-03-02"), to_ns("2024-03-12")
HOLE = Span(START + 30 * HOUR, START + 33 * HOUR)


class Swing(Strategy):
    price = StreamInput(A, allow_partial=True)

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        portfolio.target(bar.series, float(bar.ts // DAY % 2))


class Strict(HTMLParser):
    """Every element that is opened is closed, in order; nothing is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not {"src", "href"} & {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ("line", "polyline")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_shows_figures_plots_fills_and_what_was_not_clean(tmp_path: Path) -> None:
    frame = synthetic_bars(A, Span(START - DAY, END))
    ts = pl.col("ts").cast(pl.Int64)
    import_frame(tmp_path, frame.filter((ts < HOLE.start) | (ts >= HOLE.end)), A)
    with SeamlessDataProvider(tmp_path, vendors={}) as history:
        history.retract(A, *HOLE, reason="not there")
        result = Runner.submit(Swing, history_provider=history, start=START, end=END)
    assert Unclean(A, HOLE, "unknown") in result.unclean
    page = result.to_html()
    parser = Strict()
    parser.feed(page)
    assert parser.open == []
    assert "https://" not in page
    for name, value in [*result.summary().lines()[1:], *result.proof.lines()]:
        assert name in parser.text
        assert value in parser.text
    assert page.count("<polyline") == 2
    assert f"{A}: unknown" in parser.text, "a band of the plot has its reason"
    assert f"{iso(HOLE.start)}{iso(HOLE.end)}unknown" in parser.text
    assert result.outcome.fills
    for fill in result.outcome.fills[:5]:
        assert f"{iso(fill.ts)}{A}{fill.units:+,.6g}" in parser.text


def test_a_run_without_findings_says_nothing_of_them(tmp_path: Path) -> None:
    import_frame(tmp_path, synthetic_bars(A, Span(START - DAY, END)), A)
    with SeamlessDataProvider(tmp_path, vendors={}) as history:
        result = Runner.submit(Swing, history_provider=history, start=START, end=START + DAY)
    assert not result.unclean
    assert "not clean" not in result.to_html()


@pytest.mark.parametrize("count", [1, 2, 1_600, 50_000])
def test_a_line_keeps_its_extremes_however_long_it_is(count: int) -> None:
    values = np.random.default_rng(count).normal(0, 1, count).cumsum()
    drawn = plot(START + np.arange(count) * HOUR, values, [], height=200, percent=False)
    [points] = re.findall("points='([^']*)'", drawn)
    heights = [float(point.split(",")[1]) for point in points.split()]
    assert len(heights) <= 1_602
    if count > 1:
        assert (min(heights), max(heights)) == (8.0, 178.0), (
            "the highest and the lowest value reach the edges"
        )
        across = [float(point.split(",")[0]) for point in points.split()]
        assert across == sorted(across)
        assert (across[0], across[-1]) == (90.0, 948.0)


def test_an_equity_that_never_moves_is_a_line() -> None:
    drawn = plot(START + np.arange(10) * HOUR, np.full(10, 1_000.0), [], height=200, percent=False)
    [points] = re.findall("points='([^']*)'", drawn)
    assert len({point.split(",")[1] for point in points.split()}) == 1
