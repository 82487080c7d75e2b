"""Small pieces of HTML: well-formed, escaped, and bounded."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.html import MOST_ROWS, facts_table, table, title

texts = st.text("a\u00e4\u20ac<>&'\"/;", max_size=10)


def cells(html: str) -> list[list[str]]:
    return [["".join(cell.itertext()) for cell in row] for row in ElementTree.fromstring(html).iter("tr")]


@given(st.lists(st.tuples(texts, texts), max_size=5))
def test_facts_come_back_as_they_were_whatever_they_hold(rows: list[tuple[str, str]]) -> None:
    assert cells(facts_table(rows)) == [list(row) for row in rows]


@given(st.lists(st.tuples(texts, st.integers()), max_size=5))
def test_numbers_have_separators_and_stand_to_the_right(rows: list[tuple[str, int]]) -> None:
    html = table(("name", "count"), rows)
    assert cells(html) == [["name", "count"], *([name, f"{number:,}"] for name, number in rows)]
    aligned = [cell.attrib["style"] for cell in ElementTree.fromstring(html).iter("td")]
    assert aligned == ["text-align:left", "text-align:right"] * len(rows)


def test_rows_beyond_the_most_are_counted_only() -> None:
    assert len(cells(table(("n",), [(n,) for n in range(MOST_ROWS)]))) == 1 + MOST_ROWS
    shown = cells(table(("n",), ((n,) for n in range(MOST_ROWS + 1500))))
    assert len(shown) == 1 + MOST_ROWS + 1
    assert shown[-1] == ["... and 1,500 more"]


@given(texts)
def test_a_title_is_escaped(text: str) -> None:
    assert "".join(ElementTree.fromstring(title(text)).itertext()) == text
    assert title("<b>") == "<p><b>&lt;b&gt;</b></p>"
