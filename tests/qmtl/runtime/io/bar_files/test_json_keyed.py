"""Objects that are keyed by time become rows, in both ways in which services and pandas write them."""

from __future__ import annotations

from typing import Any

import pytest

from qmtl.runtime.io.bar_files.json_keyed import rows_by_time

ROWS = [{"time": "2024-01-02", "open": 1, "close": 2}, {"time": "2024-01-03", "open": 3, "close": 4}]


def test_each_time_with_its_columns() -> None:
    keyed = {"2024-01-02": {"open": 1, "close": 2}, "2024-01-03": {"open": 3, "close": 4}}
    assert rows_by_time(keyed) == ROWS


def test_each_column_with_its_times() -> None:
    columns = {"open": {"2024-01-02": 1, "2024-01-03": 3}, "close": {"2024-01-02": 2, "2024-01-03": 4}}
    assert rows_by_time(columns) == ROWS


def test_a_column_that_is_called_time_keeps_its_name() -> None:
    assert rows_by_time({"20240102": {"time": "x"}}) == [{"key": "20240102", "time": "x"}]


@pytest.mark.parametrize("key", ["2024-01-02", "2024/01/02 10:00", "20240102", "1704153600", "1704153600.5"])
def test_what_is_a_time(key: str) -> None:
    assert rows_by_time({key: {"open": 1}}) == [{"time": key, "open": 1}]


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        "2024-01-02",
        {"2024-01-02": {}},
        {"2024-01-02": {"open": [1]}},
        {"2024-01/02": {"open": 1}},  # two marks
        {"12345678": {"open": 1}, "x": {"open": 1}},
        {"open": {"2024-01-02": 1}},  # one column is no frame
        {"open": {"2024-01-02": 1}, "close": {"2024-01-03": 1}},  # times that differ
    ],
)
def test_what_is_not_keyed_by_time(value: Any) -> None:
    assert rows_by_time(value) is None
