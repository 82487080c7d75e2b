"""JSON is read strictly, as one value only, and written so that equal values give equal text."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.schema.json_values import MAX_DEPTH, in_order, ordered, parse

values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)


@given(values, st.sampled_from([None, 2, "\t"]), st.booleans())
def test_any_value_comes_back_however_it_was_written(value: Any, indent: Any, escaped: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=escaped)
    assert parse(text) == value
    assert parse(ordered(value)) == in_order(value) == value
    assert ordered(in_order(value)) == json.dumps(in_order(value), ensure_ascii=False, separators=(",", ":"))


@given(values)
def test_the_order_of_names_does_not_matter(value: Any) -> None:
    def turned(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: turned(inner) for name, inner in reversed(node.items())}
        return [turned(inner) for inner in node] if isinstance(node, list) else node

    assert ordered(turned(value)) == ordered(value)


def test_an_exact_number_keeps_its_digits() -> None:
    assert parse("[0.10, 1e2, 3]", exact=True) == [Decimal("0.10"), Decimal("1e2"), 3]
    assert [str(number) for number in parse("[0.10, 1e-400, 12345678901234567890.5]", exact=True)] == [
        *("0.10", "1E-400", "12345678901234567890.5")
    ]
    with pytest.raises(ValueError, match="has an exponent beyond 18 digits"):
        parse("1e-" + "9" * 30, exact=True)


def test_kinds_of_numbers_and_the_order_of_arrays_stay() -> None:
    assert ordered([1, 1.0, True]) == "[1,1.0,true]"
    assert ordered([2, 1]) != ordered([1, 2])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Expecting value"),
        ("int", "Expecting value"),
        ("{'a': 1}", "double quotes"),
        ('{"a": 1,}', "line 1 column "),  # of the comma, or behind it in Python before 3.13
        ("[1] 2", "Extra data"),
        ('"open', "Unterminated"),
        ('"\n"', "control character"),
        ('{"a": 1, "b": 2, "a": 3}', "'a' is given twice"),
        ('{"x": {"a": 1, "a": 1}}', "'a' is given twice"),
        ("NaN", "NaN is no JSON value"),
        ("[-Infinity]", "-Infinity is no JSON value"),
        ("1e400", "beyond a double"),
        ("1" * 401, "401 digits"),
        (r'"\ud800"', "surrogate"),
        (r'{"\udfff": 1}', "surrogate"),
        ("\ufeff{}", "BOM"),
    ],
)
def test_what_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError) as error:
        parse(text)
    assert says in str(error.value)


def test_depth_is_bounded_and_brackets_in_strings_do_not_count() -> None:
    assert parse("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    for text in (
        "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        "[" * 10_000,
        '{"a":' * 10_000 + "1" + "}" * 10_000,
    ):
        with pytest.raises(ValueError, match=f"more than {MAX_DEPTH} levels"):
            parse(text)
    quoted = '"' + '[{\\"\\\\' * 10_000 + '"'
    assert parse(f"[{quoted}]") == [json.loads(quoted)]
    assert len(parse("[" + "[]," * 10_000 + "[]]")) == 10_001


def test_a_long_text_that_never_ends_is_refused_in_time() -> None:
    # A search that starts anew at each quote would take minutes.
    with pytest.raises(ValueError):
        parse('"' + '\\"' * 500_000)
