"""Values are equal as JSON Schema compares them, and have the types that it knows."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from qmtl.foundation.schema.compatibility.json_schema.equality import (
    has_type,
    is_finite,
    is_integer,
    key,
    shortness,
    text_of,
    type_of,
)

# Each line holds equal values; no two lines are equal.
CLASSES: list[list[Any]] = [
    [None],
    [False],
    [True],
    [0, 0.0, -0.0],
    [1, 1.0],
    ["1"],
    [""],
    [[]],
    [[1, True], [1.0, True]],
    [[True, 1]],
    [{}],
    [{"a": 1, "b": [0]}, {"b": [0.0], "a": 1.0}],
    [{"a": [0], "b": 1}],
]


def test_equal_values_have_one_key_and_others_another() -> None:
    numbered = [(number, value) for number, values in enumerate(CLASSES) for value in values]
    for (one, a), (other, b) in itertools.product(numbered, repeat=2):
        assert (key(a) == key(b)) is (one == other), (a, b)


def test_what_is_no_json_has_no_key() -> None:
    with pytest.raises(TypeError, match="not a JSON value"):
        key({1, 2})


@pytest.mark.parametrize(
    ("value", "types"),
    [
        (None, {"null"}),
        (True, {"boolean"}),
        (1, {"number", "integer"}),
        (1.0, {"number", "integer"}),
        (1.5, {"number"}),
        (math.inf, {"number"}),
        ("1", {"string"}),
        ([1], {"array"}),
        ({}, {"object"}),
    ],
)
def test_types(value: Any, types: set[str]) -> None:
    known = ("null", "boolean", "integer", "number", "string", "array", "object")
    assert {name for name in known if has_type(value, name)} == types
    assert type_of(value) in types


def test_integers_may_be_larger_than_any_float() -> None:
    assert is_integer(10**400)
    assert is_finite(10**400)
    assert not is_finite(math.nan)


def test_the_shortest_text_comes_first_and_then_what_is_nearest_to_zero() -> None:
    assert sorted([100, -1, 7, 0, 10**400], key=shortness) == [0, 7, -1, 100, 10**400]


def test_one_text_whatever_the_order_of_keys() -> None:
    assert text_of({"b": 1, "a": "é"}) == text_of({"a": "é", "b": 1}) == '{"a":"é","b":1}'
    assert text_of(1) != text_of(1.0)
