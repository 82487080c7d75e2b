"""Instants as text, and spans of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.instants import DAY, EARLIEST, HOUR, LATEST, MINUTE, SECOND, WEEK, Span, iso
from qmtl.foundation.times import to_ns

instants = st.integers(EARLIEST, LATEST)
small = st.tuples(st.integers(-6, 6), st.integers(0, 6)).map(lambda at: Span(at[0], at[0] + at[1]))


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (0, "1970-01-01"),
        (DAY - SECOND, "1970-01-01T23:59:59Z"),
        (HOUR, "1970-01-01T01:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (250_000_000, "1970-01-01T00:00:00.25Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (-DAY, "1969-12-31"),
        (EARLIEST, "1677-09-22"),
        (LATEST, "2262-04-11"),
    ],
)
def test_the_shortest_text_that_says_it_all(instant: int, text: str) -> None:
    assert iso(instant) == text


@given(instants)
def test_the_text_of_an_instant_leads_back_to_it(instant: int) -> None:
    assert to_ns(iso(instant)) == instant


@given(st.integers(EARLIEST // 1000, LATEST // 1000))
def test_the_text_agrees_with_the_standard_library(micros: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    assert datetime.fromisoformat(iso(micros * 1000)).replace(tzinfo=UTC) == moment


def test_a_numpy_integer_has_the_same_text() -> None:
    assert iso(np.int64(LATEST)) == "2262-04-11"  # type: ignore[arg-type]


def test_units_are_multiples_of_each_other() -> None:
    assert (MINUTE, HOUR, DAY, WEEK) == (60 * 10**9, 3600 * 10**9, 86400 * 10**9, 604800 * 10**9)
    assert -(2**63) <= EARLIEST < EARLIEST + DAY
    assert LATEST < 2**63 <= LATEST + 2 * DAY


def test_a_span_holds_plain_integers() -> None:
    span = Span(np.int64(3), np.int64(LATEST))
    assert [type(edge) for edge in span] == [int, int]
    assert Span(np.int64(EARLIEST), np.int64(LATEST)).length == LATEST - EARLIEST
    with pytest.raises(TypeError, match="made of int nanoseconds"):
        Span(1.5, 2)  # type: ignore[arg-type]


def test_a_span_cannot_end_before_it_starts() -> None:
    with pytest.raises(ValueError, match="1970-01-02 > 1970-01-01"):
        Span(DAY, 0)
    assert Span(5, 5).is_empty
    assert not Span(5, 6).is_empty


@given(small, small)
def test_spans_against_sets_of_instants(one: Span, other: Span) -> None:
    mine, theirs = set(range(*one)), set(range(*other))
    assert one.length == len(mine)
    assert one.contains(other) == (theirs <= mine)
    clipped = one.clip(other)
    assert set(range(*clipped)) == mine & theirs
    assert other.start <= clipped.start <= clipped.end <= other.end


def test_the_text_of_a_span_shows_which_end_is_open() -> None:
    assert str(Span(0, DAY + HOUR)) == "[1970-01-01, 1970-01-02T01:00:00Z)"
