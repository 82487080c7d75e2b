"""Tables on narrow terminals: names, numbers and times are whole in each width."""

from __future__ import annotations

from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from qmtl.interfaces.cli.showing import findings_table
from qmtl.interfaces.cli.tables import Rows
from qmtl.runtime.conformance.rules import RULES

FINDINGS = [
    {
        "severity": rule.severity,
        "rule": rule.id,
        "count": 10_000_000 + number,
        "accepted": 9_000_000 + number,
        "first_ts": f"2024-01-01T00:00:{number:02}.123456789Z",
        "last_ts": f"2024-12-31T23:59:{number:02}.123456789Z",
        "meaning": rule.meaning,
    }
    for number, rule in enumerate(RULES.values())
]


def shown(what: object, width: int) -> list[str]:
    # As the command line makes it; see `Session.console`.
    console = Console(file=StringIO(), width=width, soft_wrap=True, highlight=False)
    console.print(what, sep="\n", markup=False)
    assert isinstance(console.file, StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 240])
def test_findings_are_whole(width: int) -> None:
    lines = shown(findings_table(FINDINGS, dict.fromkeys(RULES, "unchanged")), width)
    assert max(map(len, lines)) <= width
    words = " ".join(" ".join(lines).split())
    for found in FINDINGS:
        facts = ("rule", "severity", "first_ts", "last_ts")
        for fact in (*(str(found[name]) for name in facts), f"{found['count']:,}", f"{found['accepted']:,}"):
            assert any(fact in line.split() for line in lines), (fact, width)
    if width < 200:  # in a table, the words of several columns stand in one line
        for found in FINDINGS:
            assert str(found["meaning"]) in words


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_long_symbol_is_never_cut(width: int) -> None:
    series = f"ohlcv:test:{'LONG' * 30}:1m"
    lines = shown(Rows(("series", "rows", "first"), [(series, "1,440", "2024-01-01")]), width)
    assert any(series in line for line in lines)
    assert any("1,440" in line.split() for line in lines)
    assert any("2024-01-01" in line.split() for line in lines)


@given(
    cells=st.lists(st.text("abc-:/,0123456789", min_size=1, max_size=90), min_size=3, max_size=3),
    prose=st.text("abc ", max_size=200),
    width=st.integers(30, 200),
)
def test_every_cell_is_whole_in_every_width(cells: list[str], prose: str, width: int) -> None:
    lines = shown(Rows(("a", "b", "c", "said"), [[*cells, prose]], prose=("said",)), width)
    for cell in cells:
        assert any(cell in line for line in lines)
    kept = "".join("".join(lines).split())
    assert sum(map(kept.count, "abc")) >= sum(map("".join([*cells, prose]).count, "abc"))


def test_no_rows_are_a_header_alone() -> None:
    assert shown(Rows(("series", "rows"), []), 80) == ["series  rows"]


@pytest.mark.parametrize("width", [30, 200])
@pytest.mark.parametrize("prose", [(), ("why",)])
def test_what_others_wrote_moves_no_cursor(width: int, prose: tuple[str, ...]) -> None:
    text = "gone\x1b[2J\x00\x9b31m\r\u202ehidden"
    lines = shown(Rows(("series", "why"), [(text, text)], prose), width)
    assert all(line.isprintable() for line in lines)
    assert "".join("".join(lines).split()).count(r"gone\x1b[2J\x00\x9b31m\r\u202ehidden") == 2
