"""Errors carry facts as fields, are the built-in errors that they resemble, and survive a process border."""

from __future__ import annotations

import pickle
from copy import deepcopy

import pytest

from qmtl.foundation.errors import (
    InvalidRequestError,
    MissingDataError,
    MissingDependencyError,
    QmtlError,
    SchemaRegistryError,
    SeamlessSLAExceeded,
    SettingsError,
    SourceUnavailableError,
    StoreCorruptError,
    StoreError,
    first_of,
)
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import HOUR


def test_the_message_has_what_is_known_and_nothing_else() -> None:
    assert str(QmtlError("it broke")) == "it broke"
    error = QmtlError(
        "it broke", series="ohlcv:a:b:1h", span=Span(0, HOUR), why="a cable", next_step="plug it in"
    )
    assert str(error).splitlines() == [
        "it broke",
        "  series: ohlcv:a:b:1h",
        "  range:  [1970-01-01, 1970-01-01T01:00:00Z)",
        "  why:    a cable",
        "  next:   plug it in",
    ]


def test_the_store_stands_beneath_the_message() -> None:
    assert str(StoreError("it is full", path="/bars")).splitlines() == ["it is full", "  store:  /bars"]


def test_other_errors_name_their_series_where_it_is_another() -> None:
    same, other = QmtlError("b", series="x"), QmtlError("c", series="y")
    error = first_of([QmtlError("a", series="x"), same, other, QmtlError("d")])
    assert str(error).splitlines() == ["a", "  series: x", "  also:   b", "  also:   y: c", "  also:   d"]


def test_the_first_error_alone_is_itself_and_among_others_a_copy() -> None:
    """The same error may have been raised to somebody else, too."""
    alone, second = QmtlError("a"), QmtlError("b")
    assert first_of([alone]) is alone
    cause = OSError("no route")
    alone.__cause__ = cause
    whole = first_of([alone, second])
    assert whole is not alone
    assert (whole.what, whole.others, whole.__cause__) == ("a", (second,), cause)
    assert alone.others == ()


@pytest.mark.parametrize(
    ("kind", "resembles"),
    [
        (InvalidRequestError, ValueError),
        (SettingsError, InvalidRequestError),
        (MissingDataError, LookupError),
        (SeamlessSLAExceeded, TimeoutError),
        (SourceUnavailableError, ConnectionError),
        (MissingDependencyError, ImportError),
        (StoreCorruptError, StoreError),
    ],
)
def test_an_error_is_the_built_in_that_it_resembles(kind: type, resembles: type) -> None:
    assert issubclass(kind, resembles)
    assert issubclass(kind, QmtlError)


ERRORS = [
    MissingDataError("m", holes={"unknown": Coverage.of(Span(0, HOUR))}, series="s", span=Span(0, HOUR)),
    SeamlessSLAExceeded("s", phase="total", ledger={"total": 2.0}, budget_s=1.0, elapsed_s=2.0),
    SourceUnavailableError("u", source="v", why="w", others=[InvalidRequestError("o")]),
    StoreCorruptError("c", damaged=Coverage.of(Span(0, HOUR)), path="/bars"),
    MissingDependencyError("ccxt", extra="ccxt"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_fact_crosses_a_process_border(error: QmtlError) -> None:
    for copy in (pickle.loads(pickle.dumps(error)), deepcopy(error)):
        assert copy == error
        assert str(copy) == str(error)
        assert vars(copy) == vars(error)


def test_facts_are_kept_as_they_were_handed_over() -> None:
    holes = {"unknown": Coverage.of(Span(0, HOUR))}
    error = MissingDataError("m", holes=holes)
    holes.clear()
    assert error.holes == {"unknown": Coverage.of(Span(0, HOUR))}


@pytest.mark.parametrize(("code", "status"), [(40401, 404), (40901, 409), (503, 503), (422, 422)])
def test_the_status_of_a_registry_error_follows_from_its_code(code: int, status: int) -> None:
    assert SchemaRegistryError("r", code=code).status == status
