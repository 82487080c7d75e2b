"""Whoever changes the frame of an answer changes that frame alone: no other answer, no cache."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.vendors import ScriptedVendor

A, B = "ohlcv:test:A/B:1h", "ohlcv:test:C/D:1h"
DAYS = ("2024-01-01", "2024-01-03")

Make = Callable[..., SeamlessDataProvider]


def set_one(frame: pl.DataFrame) -> None:
    frame[0, "close"] = -5.0


def rename(frame: pl.DataFrame) -> None:
    frame.columns = ["t", "o", "h", "l", "c", "v"]


def insert(frame: pl.DataFrame) -> None:
    frame.insert_column(0, pl.Series("x", [1] * frame.height))


def drop(frame: pl.DataFrame) -> None:
    frame.drop_in_place("volume")


def extend(frame: pl.DataFrame) -> None:
    frame.extend(frame.clone())


@pytest.mark.parametrize("change", [set_one, rename, insert, drop, extend])
@pytest.mark.parametrize("end", ["2024-01-03", "2024-01-02"])
def test_a_changed_frame_is_its_owners_alone(
    make: Make, change: Callable[[pl.DataFrame], None], end: str
) -> None:
    provider = make(ScriptedVendor())
    before = provider.fetch(A, *DAYS)
    rows = before.frame.clone()
    changed = provider.fetch(A, DAYS[0], end)
    change(changed.frame)
    assert not changed.frame.equals(rows)
    assert changed.frame.equals(changed.frame), "it stays as its owner left it"
    again = provider.fetch(A, *DAYS)
    assert again.frame.equals(rows)
    assert before.frame.equals(rows)
    assert changed == provider.fetch(A, DAYS[0], end), "fingerprint, report and rows of an answer stay"
    assert again.receipt.fingerprint == before.receipt.fingerprint


def test_the_frame_of_a_panel_leaves_its_answers_alone(make: Make) -> None:
    provider = make(ScriptedVendor())
    for names in ([A], [A, B]):
        panel = provider.fetch_many(names, *DAYS)
        for _ in range(2):
            assert provider.fetch_many(names, *DAYS).frame.columns[0] == "series"
        assert panel.frame.columns[0] == "series"
        panel.frame[0, "close"] = -5.0
        for name in names:
            assert panel[name].frame.columns[0] == "ts"
            assert provider.fetch(name, *DAYS).frame.equals(panel[name].frame)
            assert panel[name].frame["close"].min() > 0  # type: ignore[operator]
