"""A folder that is moved, removed or replaced under an open store: no bars of two stores, and none lost."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from qmtl import SeamlessDataProvider, import_frame
from qmtl.foundation.errors import StoreError
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import to_ns
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.sql.sqlite.layout import DATABASE
from qmtl.runtime.testing.bars import synthetic_bars

X, Y = "ohlcv:m:X:1h", "ohlcv:m:Y:1h"
DAYS = [f"2024-03-0{number}" for number in range(1, 9)]
RANGE = DAYS[0], DAYS[1]


def make(folder: Path, volume: float) -> None:
    """A store with a day of both."""
    with SeamlessDataProvider(folder, vendors={}) as provider:
        for series in (X, Y):
            bars = synthetic_bars(series, Span(*map(to_ns, RANGE)))
            import_frame(provider, bars.with_columns(volume=pl.lit(volume)), series)


def moved_away(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def removed(folder: Path) -> None:
    shutil.rmtree(folder)


def replaced_by_another(folder: Path) -> None:
    moved_away(folder)
    make(folder, 2.0)


def made_anew(folder: Path) -> None:
    removed(folder)
    make(folder, 2.0)


def replaced_by_a_file(folder: Path) -> None:
    moved_away(folder)
    folder.write_text("notes")


def its_file_replaced(folder: Path) -> None:
    make(folder.with_name("other"), 2.0)
    os.replace(folder.with_name("other") / DATABASE, folder / DATABASE)


@pytest.mark.parametrize("change", [moved_away, removed, replaced_by_another, made_anew, its_file_replaced])
def test_a_store_that_is_another_by_now_is_told(tmp_path: Path, change: Callable[[Path], None]) -> None:
    folder = tmp_path / "bars"
    make(folder, 1.0)
    with SeamlessDataProvider(folder, vendors={}) as provider:
        provider.fetch(X, *RANGE)
        change(folder)
        held = {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else None
        bars = synthetic_bars(X, Span(*map(to_ns, DAYS[2:4])))
        works: list[Callable[[], object]] = [
            lambda: provider.fetch(Y, *RANGE),
            lambda: provider.fetch_many([X, Y], *RANGE),
            lambda: import_frame(provider, bars, X),
            lambda: provider.retract(X, *RANGE, reason="wrong"),
            lambda: provider.store.verify(),
        ]
        for work in works:
            with pytest.raises(
                StoreError, match=r"the store (was replaced|is gone) while it was open"
            ) as told:
                work()
            assert told.value.path == str(folder)
            assert "open it again" in str(told.value)
    now = {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else None
    assert now == held, "what lies in its place is left alone"
    if change in (replaced_by_another, made_anew):
        with SeamlessDataProvider(folder, vendors={}) as provider:
            assert provider.store.verify().is_sound
            assert provider.fetch(X, *RANGE).frame["volume"].unique().to_list() == [2.0]


def test_answers_from_the_cache_end_soon(tmp_path: Path) -> None:
    folder = tmp_path / "bars"
    make(folder, 1.0)
    with SeamlessDataProvider(folder, vendors={}) as provider:
        provider.fetch(X, *RANGE)
        replaced_by_another(folder)
        deadline = time.monotonic() + 60

        def again_and_again() -> None:
            while time.monotonic() < deadline:
                provider.fetch(X, *RANGE)

        with pytest.raises(StoreError, match="was replaced while it was open"):
            again_and_again()


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "bars"
    make(folder, 1.0)
    with EmbeddedStore(folder) as store:
        replaced_by_a_file(folder)
        with pytest.raises(StoreError, match="is gone while it was open"):
            store.newest()
    assert folder.read_text() == "notes"


def test_a_folder_that_was_only_renamed_and_came_back_is_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "bars"
    make(folder, 1.0)
    with SeamlessDataProvider(folder, vendors={}) as provider:
        moved_away(folder)
        folder.with_name("elsewhere").rename(folder)
        assert provider.fetch(X, *RANGE).frame.height == 24
