"""What is declared of a series, in one place or in several that must agree."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import NOTHING_DECLARED, OwnCalendar, SeriesFacts, agreed

facts = st.builds(
    SeriesFacts,
    calendar=st.sampled_from([None, "XNYS", "FX"]),
    anchor=st.sampled_from([None, "clock", "session"]),
    allow_nonpositive=st.sampled_from([None, True, False]),
    has_volume=st.sampled_from([None, True, False]),
)


@given(st.lists(st.none() | facts, max_size=4))
def test_places_agree_where_no_two_say_different_things(places: list[SeriesFacts | None]) -> None:
    mappings = [{} if one is None else one.to_mapping() for one in places]
    clash = any(
        a[name] != b[name] for a, b in itertools.combinations(mappings, 2) for name in a.keys() & b.keys()
    )
    named = [(f"place {n}", one) for n, one in enumerate(places)]
    if clash:
        with pytest.raises(InvalidRequestError, match="two declarations disagree"):
            agreed("ohlcv:test:A:1m", named)
    else:
        together = {name: value for one in mappings for name, value in one.items()}
        assert agreed("ohlcv:test:A:1m", named).to_mapping() == together


def test_the_disagreement_names_both_places_and_the_command() -> None:
    places = [
        ("qmtl.yml", SeriesFacts(has_volume=True)),
        ("a file", None),
        ("the store", SeriesFacts(has_volume=False)),
    ]
    with pytest.raises(InvalidRequestError) as refused:
        agreed("ohlcv:test:A:1m", places)
    error = refused.value
    assert error.what == "two declarations disagree about the has_volume of a series"
    assert error.why == "qmtl.yml says True, the store says False"
    assert (error.next_step or "").endswith("qmtl store declare ohlcv:test:A:1m --no-has-volume")
    with pytest.raises(InvalidRequestError) as refused:
        agreed("s", [("a", SeriesFacts(calendar="FX")), ("b", SeriesFacts(calendar="XNYS"))])
    assert (refused.value.next_step or "").endswith("qmtl store declare s --calendar XNYS")


def test_a_default_that_is_declared_aloud_is_declared() -> None:
    assert NOTHING_DECLARED.to_mapping() == {}
    assert SeriesFacts(has_volume=True, allow_nonpositive=False).to_mapping() == {
        "allow_nonpositive": False,
        "has_volume": True,
    }


def test_an_own_calendar_is_shown_and_never_stored() -> None:
    declared = SeriesFacts(calendar=OwnCalendar("mine"), anchor="session")
    assert declared.calendar_name == "mine"
    assert declared.storable == SeriesFacts(anchor="session")
    named = SeriesFacts(calendar="XNYS")
    assert named.storable is named
    assert NOTHING_DECLARED.calendar_name == "24x7 (default)"


def test_facts_of_a_file_are_checked() -> None:
    assert SeriesFacts.from_mapping({"anchor": "session"}) == SeriesFacts(anchor="session")
    with pytest.raises(InvalidRequestError, match="anchor 'noon'"):
        SeriesFacts.from_mapping({"anchor": "noon"})
