"""The picture of coverage shows what is there, and never hides a hole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.state_bar import shown_states
from qmtl.foundation.states import STATES, BarStates
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import MINUTE
from qmtl.interfaces.cli.coverage_bar import LOOKS, plain, render, shown_in, styled

GRID = Grid(Timeframe.parse("1m"))
START = 1_704_067_200 * 1_000_000_000


def states_of(bars: list[str]) -> BarStates:
    """States bar by bar, from 2024-01-01."""
    parts = {name: [] for name in STATES}  # type: dict[str, list[Span]]
    for number, name in enumerate(bars):
        parts[name].append(Span(START + number * MINUTE, START + (number + 1) * MINUTE))
    span = Span(START, START + len(bars) * MINUTE)
    return BarStates(span, GRID, **{name: Coverage(spans) for name, spans in parts.items()})


@given(st.lists(st.sampled_from(STATES), min_size=1, max_size=60), st.integers(10, 40))
def test_a_cell_shows_its_worst_hole_or_else_the_largest_share(bars: list[str], width: int) -> None:
    shown = shown_states(states_of(bars), width)
    length = len(bars) * MINUTE
    for cell, name in enumerate(shown):
        low, high = length * cell // width, length * (cell + 1) // width
        share = dict.fromkeys(STATES, 0)
        for number, state in enumerate(bars):
            share[state] += max(0, min(high, (number + 1) * MINUTE) - max(low, number * MINUTE))
        if share["unknown"]:
            assert name == "unknown"
        elif share["absent"]:
            assert name == "absent"
        else:
            assert share[name] == max(share.values())


def test_one_unknown_minute_of_a_year_is_seen() -> None:
    minutes = 525_600
    span = Span(START, START + minutes * MINUTE)
    hole = Coverage.of(Span(START + 300_000 * MINUTE, START + 300_001 * MINUTE))
    none = Coverage()
    states = BarStates(span, GRID, Coverage.of(span) - hole, none, none, none, hole)
    bar, *others = map(plain, render(states, 80))
    assert len(bar) == 80
    assert bar.count("?") == 1
    text = "\n".join(others)
    assert "525,599 bars 99.99 %" in text, "almost all is not all"
    assert "1 bar" in text


def test_the_states_differ_without_colour() -> None:
    assert len({look.glyph for look in LOOKS.values()}) == len(STATES)
    assert len({look.style for look in LOOKS.values()}) == len(STATES)
    bar, axis, *legend = map(plain, render(states_of(list(STATES) * 2), 50))
    assert bar == "█████▒▒▒▒▒·····×××××?????" * 2
    assert axis.startswith("2024-01-01 ")
    assert axis.endswith(" 2024-01-01T00:10:00Z")
    assert len(axis) == 50
    for name, line in zip(STATES, legend, strict=True):
        assert line.startswith(f"{LOOKS[name].glyph} {name}")
        assert "2 bars" in line
        assert "20.00 %" in line


@pytest.mark.parametrize("width", [0, 10, 11, 31, 32, 33, 60, 61, 200])
def test_any_width_will_do(width: int) -> None:
    bar, axis, *_ = map(plain, render(states_of(["present"] * 7), width))
    assert bar == "█" * max(width, 10)
    assert axis.startswith("2024-01-01")
    assert axis.endswith("2024-01-01T00:07:00Z")


def test_an_empty_range_has_no_bar() -> None:
    [line] = render(states_of([]), 80)
    assert "no bars" in plain(line)


def test_extreme_spans_do_not_overflow() -> None:
    day = Grid(Timeframe.parse("1d"))
    span = day.align(Span(-106_751 * 86_400 * 10**9, 106_751 * 86_400 * 10**9))
    none = Coverage()
    states = BarStates(span, day, Coverage.of(span), none, none, none, none)
    assert shown_states(states, 80) == ["present"] * 80


def test_states_stay_apart_where_only_ascii_is_shown() -> None:
    glyphs = [[("█▒", "green"), ("·×?", "")]]
    assert shown_in("utf-8", glyphs) == glyphs
    [line] = shown_in("ascii", glyphs)
    assert plain(line).isascii()
    assert len(set(plain(line))) == len(LOOKS)


def test_colours_change_no_letter() -> None:
    for line in render(states_of(list(STATES) * 3), 40):
        shown = styled(line)
        assert shown.plain == plain(line)
        styles = {look.style for look in LOOKS.values()} | {"dim"}
        assert {str(span.style) for span in shown.spans} <= styles
