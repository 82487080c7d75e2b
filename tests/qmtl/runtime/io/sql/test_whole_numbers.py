"""Values become whole numbers and come back bit by bit, whatever they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.runtime.io.sql.whole_numbers import (
    MOST_PLACES,
    add_neighbours,
    places_of,
    subtract_neighbours,
    to_values,
    to_whole,
)

anything = st.lists(st.floats(), min_size=1, max_size=20).map(np.array)
whole = st.integers(-(2**63), 2**63 - 1)


@given(anything, st.integers(0, MOST_PLACES))
def test_any_values_come_back_bit_by_bit(values: np.ndarray, places: int) -> None:
    numbers, rests = to_whole(np.stack([values, values[::-1]]), places)
    for whole, rest, wanted in zip(numbers, rests, (values, values[::-1]), strict=True):
        column = whole.view(np.float64)
        to_values(column, places, rest)
        assert column.tobytes() == wanted.tobytes()


@given(st.lists(st.integers(1, 10**7), min_size=1, max_size=200), st.integers(0, 8))
def test_quoted_numbers_leave_no_rest(units: list[int], places: int) -> None:
    values = np.array([float(f"{unit}e-{places}") for unit in units])
    numbers, rests = to_whole(values[None], places)
    assert rests == [None]
    assert numbers.tolist() == [units]
    (found,) = places_of(values[None])
    assert found is not None
    assert found <= places


PLACES: list[tuple[list[float], int | None]] = [
    ([1.0, 250.0], 0),
    ([27123.45, 27123.4], 2),
    ([1.5, 0.00000012], 8),
    ([0.1 + 0.2, 0.4], 1),  # a unit in the last place off
    ([1.0] * 200 + [0.125], 0),  # one odd value in many
    ([np.pi, np.e], None),
    ([float("nan")], None),
]


@pytest.mark.parametrize(("values", "places"), PLACES)
def test_the_fewest_places_that_nearly_all_values_have(values: list[float], places: int | None) -> None:
    assert places_of(np.array([values])) == [places]


def test_each_piece_has_places_of_its_own() -> None:
    pieces = [np.resize(values, 64) for values, _ in PLACES if len(values) < 200]
    wanted = [places for values, places in PLACES if len(values) < 200]
    both = np.stack([np.concatenate(pieces), np.concatenate(pieces[::-1])])
    assert places_of(both[:1], len(pieces)) == wanted
    assert places_of(both[1:], len(pieces)) == wanted[::-1]


@given(st.lists(st.tuples(whole, whole, whole, whole), min_size=1, max_size=30), st.data())
def test_neighbours_are_taken_away_and_added(bars: list[tuple[int, ...]], data: st.DataObject) -> None:
    """Of all rows, and of any stretches of them that follow one another."""
    original = list(np.array(bars, np.int64).T.copy())
    left = [column.copy() for column in original]
    subtract_neighbours(left)
    opened, _, _, close = original
    assert left[0][0] == 0
    starts = sorted(data.draw(st.sets(st.integers(0, len(bars) - 1), min_size=1)))
    befores = [(row - starts[0], int(close[row - 1] if row else opened[0])) for row in starts]
    part = [column[starts[0] :].copy() for column in left]
    add_neighbours(part, befores)
    assert [column.tolist() for column in part] == [column[starts[0] :].tolist() for column in original]
