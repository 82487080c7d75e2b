"""Numbers as people write them."""

from __future__ import annotations

import pytest

from qmtl.foundation.words import counted


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (3270, "3,270 rows"), (-1, "-1 rows")]
)
def test_a_number_with_its_noun(number: int, text: str) -> None:
    assert counted(number, "row") == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 entries"), (1, "1 entry"), (2000, "2,000 entries")])
def test_a_noun_that_does_not_only_add_an_s(number: int, text: str) -> None:
    assert counted(number, "entry", "entries") == text
