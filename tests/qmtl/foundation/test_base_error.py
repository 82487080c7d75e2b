"""Errors say what, which series and range, why and what next, and survive a pickle."""

from __future__ import annotations

import pickle

import pytest

from qmtl.foundation.base_error import (
    FORMAT,
    WRITER,
    InvalidRequestError,
    QmtlError,
    checked,
    first_of,
    made,
)
from qmtl.foundation.errors import SourceUnavailableError, StoreError
from qmtl.foundation.instants import DAY, Span
from qmtl.foundation.version import __version__


def full() -> QmtlError:
    return QmtlError("it failed", series="a:b", span=Span(0, DAY), why="because", next_step="try again")


def test_the_message_has_a_line_for_each_fact() -> None:
    assert str(full()) == (
        "it failed\n  series: a:b\n  range:  [1970-01-01, 1970-01-02)\n  why:    because\n  next:   try again"
    )
    assert str(QmtlError("it failed")) == "it failed"


def test_other_errors_are_listed_with_their_series_where_it_is_another() -> None:
    same, other, none = QmtlError("b", series="x"), QmtlError("c", series="y"), QmtlError("d")
    error = QmtlError("a", series="x", others=[same, other, none])
    assert str(error) == "a\n  series: x\n  also:   b\n  also:   y: c\n  also:   d"


def test_an_error_survives_a_pickle_with_all_its_facts() -> None:
    error = SourceUnavailableError("down", source="vendor", series="x", span=Span(0, 1), why="w")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is SourceUnavailableError
    assert again.__dict__ == error.__dict__
    assert str(again) == str(error)
    assert again.args == ("down",)


def test_errors_of_one_kind_with_the_same_facts_are_equal() -> None:
    def made() -> SourceUnavailableError:
        return SourceUnavailableError("down", source="vendor", series="x", others=[QmtlError("more")])

    one = made()
    assert one == made()
    assert hash(one) == hash(made())
    assert one != SourceUnavailableError("down", source="vendor", series="y", others=[QmtlError("more")])
    assert one != SourceUnavailableError("down", source="vendor", series="x", others=[QmtlError("less")])
    assert one != SourceUnavailableError("up", source="vendor", series="x", others=[QmtlError("more")])
    assert QmtlError("bad") != InvalidRequestError("bad")
    assert QmtlError("bad") != "bad"


def test_an_error_stays_the_same_key_when_a_fact_is_added() -> None:
    error = StoreError("it is full")
    kept = {error}
    error.path = "/bars"
    assert error in kept


def test_the_first_error_lists_the_rest_and_is_a_copy() -> None:
    one, two, three = QmtlError("1", others=[QmtlError("1a")]), QmtlError("2"), QmtlError("3")
    one.__cause__ = KeyError("cause")
    whole = first_of([one, two, three])
    assert [other.what for other in whole.others] == ["1a", "2", "3"]
    assert [other.what for other in one.others] == ["1a"]
    assert whole is not one
    assert whole.__cause__ is one.__cause__
    assert first_of([two]) is two


def test_a_bad_request_is_a_value_error_too() -> None:
    with pytest.raises(ValueError, match="bad"):
        raise InvalidRequestError("bad")


def test_a_pickle_of_another_format_is_refused_with_both_versions() -> None:
    assert checked(FORMAT, "9.9") is WRITER
    with pytest.raises(InvalidRequestError) as refused:
        checked(FORMAT + 1, "9.9")
    assert refused.value.what == f"this pickle was written by qmtl 9.9, in format {FORMAT + 1}"
    assert __version__ in (refused.value.why or "")
    assert "write_parquet" in (refused.value.next_step or "")


def test_the_writer_of_a_pickle_is_its_format_and_version() -> None:
    assert WRITER.__reduce__() == (checked, (FORMAT, __version__))
    assert pickle.loads(pickle.dumps(WRITER)) is WRITER
    assert made(WRITER, divmod, 7, 2) == (3, 1)
