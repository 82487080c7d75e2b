"""The range that a file answers for is a pair of times, the earlier first; everything else is refused."""

from __future__ import annotations

from typing import Any

import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.timeline import Span
from qmtl.runtime.sdk.answered_range import answered_range

# 2024-01-01 and the day after, in nanoseconds since 1970: 19,723 days of 86,400 seconds.
DAY = 86_400 * 10**9
NEW_YEAR = 19_723 * DAY


@pytest.mark.parametrize(
    "ends", [("2024-01-01", "2024-01-02"), ["2024-01-01T00:00Z", "2024-01-02T01:00+01:00"]]
)
def test_two_times_are_a_range(ends: Any) -> None:
    assert answered_range(ends) == Span(NEW_YEAR, NEW_YEAR + DAY)


def test_a_span_and_nothing_stay_as_they_are() -> None:
    span = Span(NEW_YEAR, NEW_YEAR + DAY)
    assert answered_range(span) is span
    assert answered_range(None) is None


@pytest.mark.parametrize("ends", ["2024-01-01", ("2024-01-01",), ("2024-01-01",) * 3, 7, {}, ()])
def test_what_is_no_pair_is_refused(ends: Any) -> None:
    with pytest.raises(InvalidRequestError, match="is no range"):
        answered_range(ends)


def test_the_later_time_first_is_refused_with_both() -> None:
    with pytest.raises(InvalidRequestError, match=r"starts at 2024-01-02, after its end 2024-01-01"):
        answered_range(("2024-01-02", "2024-01-01"))
