"""Marks and zeros name the encoding; no text of UTF-32 is taken for UTF-16."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.runtime.io.bar_files.byte_order import by_zeros, mark_of, width_of

LINES = "ts,open,high,low,close,volume\n2024-01-01,1,2,1,2,3\n"
BODIES = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")


@pytest.mark.parametrize("body", BODIES)
def test_a_mark_names_the_encoding_and_that_of_what_is_behind_it(body: str) -> None:
    data = f"\ufeff{LINES}".encode(body)
    mark = mark_of(data[:4])
    assert mark is not None
    assert (mark.encoding, mark.body) == (body[:6], body)
    assert data.decode(mark.encoding) == LINES
    assert data.removeprefix(mark.bytes).decode(mark.body) == LINES


def test_the_mark_of_utf_8_and_none() -> None:
    mark = mark_of(codecs.BOM_UTF8 + b"ts")
    assert mark is not None
    assert (mark.encoding, mark.body) == ("utf-8-sig", "utf-8")
    assert mark_of(b"ts,o") is None
    assert mark_of(b"") is None


@pytest.mark.parametrize("body", BODIES)
@given(text=st.text(st.characters(min_codepoint=1, max_codepoint=255), min_size=4))
def test_zeros_tell_the_encoding_of_latin_text(body: str, text: str) -> None:
    assert by_zeros(text.encode(body)) == body


@given(st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"])))
def test_text_without_zeros_is_not_wide(text: str) -> None:
    assert by_zeros(text.encode()) is None


def test_zeros_everywhere_tell_nothing() -> None:
    assert by_zeros(b"\0" * 64) is None


@pytest.mark.parametrize(
    ("name", "width"),
    [("utf-8", 1), ("cp1252", 1), ("UTF_16", 2), ("utf-16-be", 2), ("U32", 4), ("utf-32-le", 4)],
)
def test_bytes_of_a_character(name: str, width: int) -> None:
    assert width_of(name) == width
