"""Numbers as people write them, and texts of others as people may see them."""

from __future__ import annotations

import pytest

from qmtl.foundation.words import counted, shown, shown_lines


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (3270, "3,270 rows"), (-1, "-1 rows")]
)
def test_a_number_with_its_noun(number: int, text: str) -> None:
    assert counted(number, "row") == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 entries"), (1, "1 entry"), (2000, "2,000 entries")])
def test_a_noun_that_does_not_only_add_an_s(number: int, text: str) -> None:
    assert counted(number, "entry", "entries") == text


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("BTC/USDT, 100 %", "BTC/USDT, 100 %"),
        ("Kurs für Ölpreise 東京", "Kurs für Ölpreise 東京"),
        ('it\'s "so" \\n', 'it\'s "so" \\n'),
        ("\x1b[2Jgone\x00\r\n\t", r"\x1b[2Jgone\x00\r\n\t"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egnp.exe\ud800", r"\u202egnp.exe\ud800"),
    ],
)
def test_text_of_others_moves_no_cursor(text: str, seen: str) -> None:
    assert shown(text) == seen
    assert shown(text).isprintable()


def test_lines_of_others_stay_lines() -> None:
    assert shown_lines("a\n\tb\x1b[1m\r\n") == "a\n\tb\\x1b[1m\\r\n"
