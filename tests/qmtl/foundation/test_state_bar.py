"""The five states as a bar of equal parts, against a walk over every nanosecond."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.state_bar import COLOURS, PARTS, percent, shown_states, states_html
from qmtl.foundation.states import STATES, BarStates
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import DAY, EARLIEST, LATEST

DAYS = Grid(Timeframe.parse("1d"))


def a_range(states: list[str], first: int = 0) -> BarStates:
    """One day in each of some states."""
    cells = {
        name: Coverage(
            ((first + k) * DAY, (first + k + 1) * DAY) for k, state in enumerate(states) if state == name
        )
        for name in STATES
    }
    return BarStates(Span(first * DAY, (first + len(states)) * DAY), DAYS, **cells)


@given(st.lists(st.sampled_from(STATES), min_size=1, max_size=12), st.integers(1, 30), st.integers(-5, 5))
def test_each_part_shows_its_worst_hole_or_else_what_fills_most_of_it(
    states: list[str], width: int, first: int
) -> None:
    """Oracle: the share of each state in each part, in exact integers."""
    whole = len(states) * DAY
    expected = []
    for part in range(width):
        start, end = whole * part // width, whole * (part + 1) // width
        share = dict.fromkeys(STATES, 0)
        for day, state in enumerate(states):
            share[state] += max(0, min(end, (day + 1) * DAY) - max(start, day * DAY))
        worst = next((name for name in ("unknown", "absent") if share[name]), None)
        expected.append(worst or max(("present", "no_trade", "closed"), key=lambda name: share[name]))
    assert shown_states(a_range(states, first), width) == expected


def test_a_single_hole_in_a_year_is_seen() -> None:
    states = ["present"] * 365
    states[100] = "absent"
    assert shown_states(a_range(states), 20).count("absent") == 1


def test_a_range_longer_than_int64_can_count() -> None:
    middle = Coverage.of(Span(-DAY, DAY))
    rest = Coverage.of(Span(EARLIEST, LATEST)) - middle
    states = BarStates(Span(EARLIEST, LATEST), DAYS, rest, EMPTY, EMPTY, EMPTY, middle)
    shown = shown_states(states, 4)
    assert shown == ["present", "unknown", "unknown", "present"]


def test_the_picture_has_a_rectangle_for_each_run_and_they_fill_it() -> None:
    states = a_range(["present", "present", "unknown", "no_trade"])
    html = f"<div>{states_html(states)}</div>"
    root = ElementTree.fromstring(html)
    rects = root.findall(".//rect")
    assert [(int(r.attrib["x"]), int(r.attrib["width"])) for r in rects] == [
        (0, PARTS // 2),
        (PARTS // 2, PARTS // 4),
        (PARTS * 3 // 4, PARTS // 4),
    ]
    assert [r.findtext("title") for r in rects] == ["present", "unknown", "no_trade"]
    assert [r.attrib["fill"] for r in rects] == [COLOURS[n][0] for n in ("present", "unknown", "no_trade")]
    assert [span.text for span in root.findall(".//div/div/span")] == ["1970-01-01", "1970-01-05"]
    rows = [[" ".join("".join(td.itertext()).split()) for td in tr] for tr in root.findall(".//tr")]
    assert [row[:3] for row in rows] == [
        ["present", "2 bars", "50.00 %"],
        ["no_trade", "1 bar", "25.00 %"],
        ["closed", "0 bars", "0 %"],
        ["absent", "0 bars", "0 %"],
        ["unknown", "1 bar", "25.00 %"],
    ]


def test_an_empty_range_has_no_picture() -> None:
    html = states_html(BarStates(Span(0, 0), DAYS, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY))
    assert "<svg" not in html
    assert "0 bars" in html


def test_every_state_has_its_colour() -> None:
    assert tuple(sorted(COLOURS)) == tuple(sorted(STATES))
    assert len({colour for colour, _ in COLOURS.values()}) == len(STATES)


@pytest.mark.parametrize(
    ("part", "total", "text"),
    [
        (0, 7, "0 %"),
        (7, 7, "100 %"),
        (1, 4, "25.00 %"),
        (1, 3, "33.33 %"),
        (1, 10**9, "0.01 %"),
        (10**9 - 1, 10**9, "99.99 %"),
        (0, 1, "0 %"),
    ],
)
def test_almost_all_is_not_all(part: int, total: int, text: str) -> None:
    assert percent(part, total) == text


def test_parts_beyond_a_span_of_numpy_integers() -> None:
    span = Span(np.int64(0), np.int64(2 * DAY))
    states = BarStates(span, DAYS, Coverage.of(span), EMPTY, EMPTY, EMPTY, EMPTY)
    assert shown_states(states, 3) == ["present"] * 3
