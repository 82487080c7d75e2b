"""Texts fit a screen, and say what they left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.texts import MOST_LINES, WIDEST, fact_lines, on_screen

printable = st.text(st.characters(codec="ascii", categories=("L", "N")), max_size=12)


@given(st.lists(printable, max_size=12), st.integers(2, 8), st.integers(2, 10))
def test_no_text_is_higher_or_wider_than_the_screen(lines: list[str], most: int, width: int) -> None:
    shown = on_screen(lines, most=most, width=width).split("\n")
    assert len(shown) <= most
    assert all(len(line) <= width for line in shown)
    whole = len(lines) <= most
    for line, cut in zip(lines if whole else lines[: most - 1], shown, strict=whole and bool(lines)):
        assert cut == line if len(line) <= width else cut == line[: width - 1] + "…"


def test_what_was_left_out_is_counted_in_the_last_line() -> None:
    lines = [f"line {n}" for n in range(2000)]
    assert on_screen(lines, most=3) == "line 0\nline 1\n... and 1,998 more lines"
    assert on_screen(lines[:3], most=3) == "line 0\nline 1\nline 2"


def test_lines_with_breaks_count_as_several_and_empty_ones_stay() -> None:
    assert on_screen(["a\nb", "", "c"], most=4) == "a\nb\n\nc"
    assert on_screen(["a\nb", "", "c"], most=3) == "a\nb\n... and 2 more lines"
    assert on_screen([]) == ""


@pytest.mark.parametrize(("length", "end"), [(WIDEST, "x"), (WIDEST + 1, "…")])
def test_a_line_is_cut_beyond_the_width_only(length: int, end: str) -> None:
    shown = on_screen(["x" * length])
    assert len(shown) == WIDEST
    assert shown.endswith(end)


def test_the_default_screen_has_its_lines() -> None:
    assert len(on_screen("x" for _ in range(100)).split("\n")) == MOST_LINES


def test_facts_stand_one_below_the_other() -> None:
    assert fact_lines([("rows", "3"), ("a longer name", "4")]) == ["rows         3", "a longer name 4"]
