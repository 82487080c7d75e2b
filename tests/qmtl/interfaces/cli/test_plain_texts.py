"""Texts that are shown without rich come out as rich would show them."""

from __future__ import annotations

from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.words import shown_lines
from qmtl.interfaces.cli.console import PipeAwareConsole
from qmtl.interfaces.cli.session import NO_TERMINAL, Session

LINES = st.lists(
    st.text(st.one_of(st.characters(), st.sampled_from("│─…\t\n\r\x07[]: ")), max_size=40), max_size=4
)


def by_rich(*what: str) -> str:
    console = PipeAwareConsole(
        file=StringIO(), highlight=False, emoji=False, soft_wrap=True, width=NO_TERMINAL, force_terminal=False
    )
    console.print(*what, sep="\n", markup=False)
    shown = console.file
    assert isinstance(shown, StringIO)
    return shown.getvalue()


@given(LINES.filter(bool))
def test_texts_are_shown_as_rich_shows_them(texts: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        out = StringIO()
        patch.setattr("sys.stdout", out)
        Session(None, None, json=False, verbose=False).show(*texts)
    assert out.getvalue() == by_rich(*map(shown_lines, texts))
