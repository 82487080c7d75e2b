"""What people see of answers: texts that fit a screen, and pages without script."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import qmtl
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.states import BarStates
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.planning.attribution import Served
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.receipt import Later, Receipt
from qmtl.runtime.testing.vendors import ScriptedVendor

BOTH_ENGINES = True

Make = Callable[..., SeamlessDataProvider]

SERIES = "ohlcv:test:<BTC&USDT>:1m"
DAY = ("2024-01-01", "2024-01-02")
MILLION = 1_000_000


class Balanced(HTMLParser):
    """Notes what is open, and the names of all tags."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)
        if tag not in ("br", "img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags_of(html: str) -> set[str]:
    page = Balanced()
    page.feed(html)
    page.close()
    assert page.open == []
    return page.seen


def shattered() -> BarStates:
    """Every second minute has a row, for about four years: 10^6 spans in each of two states."""
    starts = np.arange(MILLION, dtype=np.int64) * 2 * MINUTE
    span = Span(0, 2 * MILLION * MINUTE)
    present = Coverage.from_arrays(starts, starts + MINUTE)
    return BarStates(
        span, Grid(Timeframe.parse("1m")), present, EMPTY, EMPTY, EMPTY, Coverage.of(span) - present
    )


def receipt_of(states: BarStates) -> Receipt:
    served = tuple(Served("storage", f"source-{n}" * 20, states.present) for n in range(100))  # type: ignore[arg-type]
    later = Later(lambda: served, lambda: "f" * 64, lambda: states.counts)
    return Receipt(
        qmtl.SeriesId.parse(SERIES),
        states.span,
        "SEAMLESS",
        "24x7",
        1,
        1,
        {"total": 1.0},
        states.unknown,
        later,
        violations=tuple(f"violation {n} " + "x" * 300 for n in range(50)),
    )


def fits(text: str) -> None:
    lines = text.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100


def test_texts_fit_a_screen_however_many_spans_there_are(make: Make) -> None:
    states = shattered()
    for one in (states, states.present, receipt_of(states)):
        fits(repr(one))
    assert "1,000,000 spans in [1970-01-01, " in repr(states.present)
    assert repr(receipt_of(states)).splitlines()[-1].startswith("... and ")
    provider = make(ScriptedVendor())
    result = provider.fetch("ohlcv:test:BTC/USDT:1m", *DAY)
    for one in (result, result.receipt, result.report, result.coverage, provider):
        fits(repr(one))
    assert "shape: (1_440, 6)" in repr(result)
    assert "fingerprint" in repr(result)


def test_pages_stay_small_however_many_spans_there_are() -> None:
    states = shattered()
    for one in (states, states.present, receipt_of(states)):
        html = one._repr_html_()
        tags_of(html)
        assert len(html) < 100_000
    assert "and 999,980 more" in states.present._repr_html_()


def test_every_page_is_balanced_escaped_and_without_script(make: Make) -> None:
    provider = make({"ohlcv:test:*": ScriptedVendor()})
    many = provider.fetch_many([SERIES], *DAY)
    result = many[SERIES]
    filled = provider.backfill([SERIES], *DAY)
    change = provider.diff(SERIES, result.receipt.as_of, result.receipt.as_of)
    for one in (provider, many, result, result.receipt, result.report, result.coverage, filled, change):
        html = one._repr_html_()
        if one is not change and one is not result:  # polars writes these as it likes
            tags = tags_of(html)
            assert not tags & {"script", "iframe", "link", "object", "style"}
        assert "<BTC" not in html
    assert "&lt;BTC&amp;USDT&gt;" in many._repr_html_()
    assert "svg" in tags_of(result.coverage._repr_html_())
    for name, count in result.coverage.counts.items():
        assert name in result.coverage._repr_html_()
        assert f"{count:,} bars" in result.coverage._repr_html_()


def test_a_single_hole_in_four_years_is_seen() -> None:
    span = Span(0, 2 * MILLION * MINUTE)
    hole = Coverage.of(Span(MILLION * MINUTE, (MILLION + 1) * MINUTE))
    grid = Grid(Timeframe.parse("1m"))
    states = BarStates(span, grid, Coverage.of(span) - hole, EMPTY, EMPTY, EMPTY, hole)
    assert "<rect x='100' y='0' width='1'" in states._repr_html_()
    assert "99.99 %" in states._repr_html_()


def test_a_provider_tells_what_it_holds_and_whom_it_asks(make: Make) -> None:
    provider = make({"ohlcv:test:*": ScriptedVendor()})
    provider.fetch(SERIES, *DAY)
    for text in (repr(provider), provider._repr_html_()):
        assert provider.store.location in text
        assert "ohlcv:test:* by ScriptedVendor" in text
    assert "series       1" in repr(provider)
    provider.close()
    assert "closed" in repr(provider)


@pytest.mark.parametrize("fill", [None, "flat"])
def test_an_empty_answer_has_a_look(make: Make, fill: Any) -> None:
    result = make().fetch(SERIES, DAY[0], DAY[0], fill=fill)
    for one in (result, result.receipt, result.report, result.coverage):
        fits(repr(one))
        assert one._repr_html_()
