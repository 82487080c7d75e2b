"""JSON is printed as Jackson prints it, and read back it is the same."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.schema.canonical_form.jackson import printed
from qmtl.foundation.schema.json_values import parse

texts = st.text(st.characters(exclude_categories=["Cs"]))
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)


@pytest.mark.slow
@given(values)
def test_what_is_printed_is_the_same_value(value: Any) -> None:
    assert json.loads(printed(value)) == value


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_an_exact_number_comes_back_with_its_digits(number: Decimal) -> None:
    reported = printed(number)
    again = parse(reported, exact=True)
    assert again == number
    assert printed(again) == reported


@pytest.mark.parametrize(
    ("value", "text"),
    [
        # Double.toString: plain from 0.001 to 10,000,000, with at least one digit on either side.
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (-1.5, "-1.5"),
        (0.001, "0.001"),
        (0.00099, "9.9E-4"),
        (9999999.0, "9999999.0"),
        (1e7, "1.0E7"),
        (123456789.125, "1.23456789125E8"),
        (1.7976931348623157e308, "1.7976931348623157E308"),
        (2.2250738585072014e-308, "2.2250738585072014E-308"),
        # BigDecimal.toString: the digits that were given, an exponent only where it is needed.
        (Decimal("0.10"), "0.10"),
        (Decimal("1e2"), "1E+2"),
        (Decimal("1.50E3"), "1.50E+3"),
        (Decimal("0.000001"), "0.000001"),
        (Decimal("0.0000001"), "1E-7"),
        (Decimal("-0.0"), "0.0"),
        ('"\\/\b\f\n\r\t\x00\x1f\x7fé\u2028', '"\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001F\x7fé\u2028"'),
        ({"b": [None, True, False], "a": {}}, '{"b":[null,true,false],"a":{}}'),
    ],
)
def test_the_text(value: Any, text: str) -> None:
    assert printed(value) == text


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="set is no type of a JSON value"):
        printed([{1}])
