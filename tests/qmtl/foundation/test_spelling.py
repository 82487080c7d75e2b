"""`near` against all edits, made one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.spelling import near

NAMES = st.text("abcd", min_size=3, max_size=6)


def edits(name: str) -> set[str]:
    """Everything that one edit makes of a name."""
    cuts = [(name[:at], name[at:]) for at in range(len(name) + 1)]
    return {
        name,
        *(a + b[1:] for a, b in cuts),
        *(a + letter + b[skip:] for a, b in cuts for letter in "abcd" for skip in (0, 1)),
        *(a + b[1] + b[0] + b[2:] for a, b in cuts if len(b) > 1),
    }


@given(NAMES, st.sets(NAMES))
def test_near_is_one_edit_away(typed: str, known: set[str]) -> None:
    expected = {typed} & known or {name for name in known if len(name) > 3 and typed in edits(name)}
    assert near(typed, known) == sorted(expected)


def test_capitals_are_a_slip_for_certain() -> None:
    assert near("KRAKEN", ["kraken", "krakens"]) == ["kraken"]
    assert near(" okx ", ["okx", "okcoin"]) == ["okx"]


def test_short_names_are_not_guessed() -> None:
    assert near("oky", ["okx", "fx"]) == []
