"""Times at the door."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import qmtl
from qmtl.foundation import times
from qmtl.foundation.times import SECOND, to_ns, warn_of_small_ints

NEW_YEAR = 1_704_067_200  # 2024-01-01 in seconds
BARS = ("ohlcv:test:X:1m", "2024-01-01", "2024-01-02")


@pytest.fixture(autouse=True)
def _first_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "_small_int_seen", False)


@pytest.mark.parametrize(
    "given",
    [(NEW_YEAR, NEW_YEAR + 60), (NEW_YEAR * 1000, None), (NEW_YEAR * 10**6, None), (0, NEW_YEAR)],
    ids=["seconds", "milliseconds", "microseconds", "from zero"],
)
def test_ints_of_another_unit_are_reported_once(given: tuple[Any, ...]) -> None:
    with pytest.warns(qmtl.SmallIntWarning, match=r"is nanoseconds, which is 1970-.* \* 10\*\*9"):
        warn_of_small_ints(*given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_small_ints(*given)


@pytest.mark.parametrize(
    "given",
    [
        (NEW_YEAR * SECOND, None),
        (0, None),
        (0, NEW_YEAR * SECOND),
        (-NEW_YEAR, NEW_YEAR),
        ("1970-01-02", "1970-01-03"),
        ("2024-01-01", NEW_YEAR * SECOND),
    ],
)
def test_nanoseconds_and_texts_are_not_reported(given: tuple[Any, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_small_ints(*given)


def test_the_value_is_what_it_was_whatever_its_size() -> None:
    assert to_ns(NEW_YEAR) == NEW_YEAR


ASKED = [
    lambda provider: provider.fetch("ohlcv:test:X:1m", NEW_YEAR, NEW_YEAR + 600),
    lambda provider: provider.fetch_many(["ohlcv:test:X:1m"], NEW_YEAR, NEW_YEAR + 600),
]


@pytest.mark.parametrize("ask", ASKED, ids=["fetch", "fetch_many"])
def test_a_fetch_of_seconds_is_reported_at_the_line_that_asked(tmp_path: Any, ask: Any) -> None:
    with (
        qmtl.SeamlessDataProvider(tmp_path / "bars", vendors={}, partial_ok=True) as provider,
        pytest.warns(qmtl.SmallIntWarning) as reported,
    ):
        ask(provider)
    assert reported[0].filename == __file__


@pytest.mark.parametrize(
    "read",
    [
        lambda provider: provider.fetch(*BARS, as_of=NEW_YEAR, partial_ok=True),
        lambda provider: provider.coverage(*BARS, as_of=NEW_YEAR * 1000),
        lambda provider: provider.diff("ohlcv:test:X:1m", NEW_YEAR, "2024-02-01"),
        lambda provider: provider.diff("ohlcv:test:X:1m", 0, NEW_YEAR),
    ],
    ids=["fetch", "coverage", "diff", "diff from the beginning"],
)
def test_a_commit_time_in_seconds_is_reported_at_the_line_that_asked(tmp_path: Any, read: Any) -> None:
    with (
        qmtl.SeamlessDataProvider(tmp_path / "bars", vendors={}) as provider,
        pytest.warns(qmtl.SmallIntWarning, match=r"is nanoseconds, which is 1970-") as reported,
    ):
        read(provider)
    assert reported[0].filename == __file__


def test_the_state_before_the_first_commit_is_not_reported(tmp_path: Any) -> None:
    with qmtl.SeamlessDataProvider(tmp_path / "bars", vendors={}) as provider:
        assert provider.diff("ohlcv:test:X:1m", 0, "2024-02-01").is_empty()


@pytest.mark.parametrize(
    "text",
    [
        "2024-03-04T15:00:60Z",
        "2024-03-04T15:00:61Z",
        "2024-03-04T15:60Z",
        "2024-03-04T24:00Z",
        "2024-03-04T24:00:00Z",
        "2024-03-04 24:00:00.000000000Z",
        "20240304T240000Z",
        "2024-03-04T25:00Z",
        "2024-06-31",
        "2023-02-29",
        "2024-13-01",
        "2024-00-01",
        "2016-12-31T23:59:60Z",
    ],
)
def test_a_field_out_of_range_is_no_time(text: str) -> None:
    """Whatever a parser makes of it: some read 24:00 as the next day, and second 60 as the next minute."""
    with pytest.raises(qmtl.InvalidRequestError, match="is not a time"):
        to_ns(text)
