"""Placeholders are found where they are, and nowhere else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.runtime.io.sql.postgres.placeholders import translated


@pytest.mark.parametrize(
    ("ours", "theirs", "names"),
    [
        ("SELECT 1", "SELECT 1", ()),
        ("a = ? AND b IN (?, ?)", "a = $1 AND b IN ($2, $3)", ()),
        ("a = ?2 AND b = ?1 AND c = ?2", "a = $2 AND b = $1 AND c = $2", ()),
        (":low < ts AND ts < :high AND :low > 0", "$1 < ts AND ts < $2 AND $1 > 0", ("low", "high")),
        ("(value ->> 0)::bigint = ?", "(value ->> 0)::bigint = $1", ()),
        ("?::jsonb", "$1::jsonb", ()),
        ("why = 'is it? :so' AND a = ?", "why = 'is it? :so' AND a = $1", ()),
        ("why = 'it''s ?' AND a = :b", "why = 'it''s ?' AND a = $1", ("b",)),
        ('"what?" = ?', '"what?" = $1', ()),
    ],
)
def test_a_statement(ours: str, theirs: str, names: tuple[str, ...]) -> None:
    assert translated(ours) == (theirs, names)


def test_values_come_in_the_order_of_their_names() -> None:
    statement = translated("a = :b AND c = :a")
    assert statement.ordered({"a": 1, "b": 2, "unused": 3}) == [2, 1]
    assert translated("a = ?").ordered((5,)) == (5,)


@given(st.lists(st.sampled_from([" :one ", " :two ", " ::text ", "':one'", " x "])))
def test_filled_in_it_says_the_same(parts: list[str]) -> None:
    values = {"one": "1", "two": "2"}
    statement = translated("".join(parts))
    ordered = statement.ordered(values)
    filled = re.sub(r"\$(\d)", lambda found: ordered[int(found[1]) - 1], statement.text)
    assert filled == "".join(part if "'" in part or "::" in part else _filled(part, values) for part in parts)


def _filled(part: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        part = part.replace(f":{name}", value)
    return part
