"""Strings between expressions: what is found fits by `re`, and what is said not to exist does not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.schema.compatibility.json_schema.regex_language.search import (
    Wanted,
    find_words,
    literally,
)

expressions = st.recursive(
    st.sampled_from(["a", "b", "[ab]", "[^a]", ".", r"\d", r"\w", r"\s", "^", "$", r"\Z", "é", "[0-9]"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "+?"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        ),
    ),
    max_leaves=5,
)
texts = st.text("ab0 \né٣x", max_size=4)


@given(one=expressions, other=expressions, texts=st.lists(texts, max_size=30), shortest=st.integers(0, 2))
def test_words_are_those_of_re(one: str, other: str, texts: list[str], shortest: int) -> None:
    words = find_words(Wanted((one,), (other,), shortest, 4))
    for word in words.found:
        assert re.search(one, word)
        assert not re.search(other, word)
        assert shortest <= len(word) <= 4
    for text in texts:
        if re.search(one, text) and not re.search(other, text) and shortest <= len(text):
            assert not words.none_exists


@pytest.mark.parametrize(
    ("accept", "refuse", "expected"),
    [
        ("^[A-Z]{3,4}$", "^[A-Z]{3}$", "AAAA"),
        ("^a$", r"\Aa\Z", "a\n"),
        ("^[^@]+@[^@]+$", r"^[^@\s]+@[^@\s]+$", "a@ "),
        (r"^\d$", "^[0-9]$", "٣"),
        ("^(?:a|b)$", literally("a"), "b"),
    ],
)
def test_the_shortest_word(accept: str, refuse: str, expected: str) -> None:
    assert find_words(Wanted((accept,), (refuse,))).found[0] == expected


@pytest.mark.parametrize(
    ("accept", "refuse"),
    [
        ("^[A-Z]{3}$", "^[A-Z]{3,4}$"),
        (r"\Aa\Z", "^a$"),
        ("^[0-9]+$", r"^\d+$"),
        ("^ab", "a"),
        ("^(red|green)$", "^[a-z]+$"),
    ],
)
def test_no_word(accept: str, refuse: str) -> None:
    assert find_words(Wanted((accept,), (refuse,))).none_exists


@pytest.mark.parametrize(
    "expression", [r"(?!a).", r"\bab\b", r"(a)\1", "(?i)a", r"\p{L}", "a{1,5000}b{1,5000}"]
)
def test_what_is_not_looked_into_proves_nothing(expression: str) -> None:
    assert not find_words(Wanted(("a",), (expression,))).none_exists
