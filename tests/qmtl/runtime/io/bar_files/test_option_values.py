"""What is written behind an option is read back as it was meant, also where it holds commas and quotes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.io.bar_files.option_values import condition_text, parse_where

# Without blanks at the ends, which no column and no value has.
texts = st.text(st.sampled_from("ab=,\"' "), max_size=6).map(str.strip)


@given(st.dictionaries(texts.filter(bool), texts, max_size=4))
def test_conditions_in_a_text_are_those_of_a_mapping(conditions: dict[str, str]) -> None:
    text = ",".join(condition_text(column, value) for column, value in conditions.items())
    assert parse_where(text) == parse_where(conditions) == conditions


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('name="Acme, Inc."', {"name": "Acme, Inc."}),
        ('name="Acme, Inc.", ticker = A', {"name": "Acme, Inc.", "ticker": "A"}),
        ("flags=a=b", {"flags": "a=b"}),
        ('"a=b"=c', {"a=b": "c"}),
        ('name="the ""best"", really"', {"name": 'the "best", really'}),
        ('size=5" pipe', {"size": '5" pipe'}),
        ("name=", {"name": ""}),
        (["name=Acme, Inc.", "x=1"], {"name": "Acme, Inc.", "x": "1"}),
        ({"name": "Acme, Inc."}, {"name": "Acme, Inc."}),
    ],
)
def test_how_conditions_are_written(written: str, meant: dict[str, str]) -> None:
    assert parse_where(written) == meant


@pytest.mark.parametrize("text", ["name=Acme, Inc.", "name", "=x", ",", 'name="Acme, Inc.', "a=1,,b=2"])
def test_what_is_no_condition_is_refused_with_how_to_quote(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="is not COLUMN=VALUE") as refused:
        parse_where(text)
    assert 'name="Acme, Inc."' in (refused.value.next_step or "")
