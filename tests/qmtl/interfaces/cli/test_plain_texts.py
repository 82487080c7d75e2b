"""Texts and tables that are shown without rich come out as rich would show them."""

from __future__ import annotations

import os
import subprocess
import sys
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.words import shown_lines
from qmtl.interfaces.cli.console import PipeAwareConsole
from qmtl.interfaces.cli.session import NO_TERMINAL, Session
from qmtl.interfaces.cli.tables import Rows

STYLING = ("FORCE_COLOR", "TTY_COMPATIBLE")
LINES = st.lists(
    st.text(st.one_of(st.characters(), st.sampled_from("│─…\t\n\r\x07[]: ")), max_size=40), max_size=4
)


# Of letters that are all as wide, but now and then one that is not, or breaks the line.
CELL = st.text(st.sampled_from("aZ09,.[]:/ -界é\t\n"), max_size=30)
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.builds(
        lambda names, rows, prose: Rows(names, rows, names[:prose]),
        st.lists(st.from_regex(r"[ab]( ?[c-]){0,8}", fullmatch=True), min_size=width, max_size=width),
        st.lists(st.lists(st.one_of(CELL, st.just("1,440")), min_size=width, max_size=width), max_size=4),
        st.integers(0, width),
    )
)


def by_rich(*what: str | Rows) -> str:
    console = PipeAwareConsole(
        file=StringIO(), highlight=False, emoji=False, soft_wrap=True, width=NO_TERMINAL, force_terminal=False
    )
    console.print(*what, sep="\n", markup=False)
    shown = console.file
    assert isinstance(shown, StringIO)
    return shown.getvalue()


def by_us(*what: str | Rows, **environment: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        for name in STYLING:
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        out = StringIO()
        patch.setattr("sys.stdout", out)
        Session(None, None, json=False, verbose=False).show(*what)
    return out.getvalue()


@given(LINES.filter(bool))
def test_texts_are_shown_as_rich_shows_them(texts: list[str]) -> None:
    assert by_us(*texts) == by_rich(*map(shown_lines, texts))


@given(TABLES, TABLES, LINES)
def test_tables_are_shown_as_rich_shows_them(table: Rows, other: Rows, texts: list[str]) -> None:
    assert by_us(table, *texts, other) == by_rich(table, *map(shown_lines, texts), other)


@given(TABLES, st.integers(1, 120))
def test_a_table_without_room_or_with_wide_letters_is_left_to_rich(table: Rows, width: int) -> None:
    lines = table.without_style(width)
    assert lines is None or max(map(len, lines)) <= width
    if lines is not None:
        assert all(map(str.isascii, lines))


def test_a_table_is_coloured_where_the_environment_asks_for_it() -> None:
    table = Rows(("outcome", "what"), [("ok", "clock")])
    assert "\x1b[" in by_us(table, FORCE_COLOR="1", TERM="xterm")
    assert by_us(table) == "outcome  what \nok       clock\n"


def test_nothing_for_people_stands_among_json_where_stderr_is_closed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr", None)
    session = Session(None, None, json=True, verbose=False)
    assert session.is_plain
    session.show("text", Rows(("a",), [("b",)]))
    assert capsys.readouterr().out == ""


def test_commands_show_tables_without_rich() -> None:
    code = (
        "import sys; from qmtl.interfaces.cli.session import Session; "
        "from qmtl.interfaces.cli.tables import Rows; "
        "Session(None, None, json=False, verbose=False).show(Rows(('a', 'b'), [('c', 'd')])); "
        "sys.exit('rich' in sys.modules)"
    )
    environment = {name: value for name, value in os.environ.items() if name not in STYLING}
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, env=environment)
