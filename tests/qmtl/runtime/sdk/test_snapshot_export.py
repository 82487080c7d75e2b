"""A snapshot is taken by the names and times that people write."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.times import DAY, iso
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.sdk.snapshot_export import export_snapshot
from tests.qmtl.runtime.io.snapshots.filled import DAILY, SECONDS, START, fill


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with EmbeddedStore(tmp_path / "bars") as opened:
        fill(opened)
    return tmp_path / "bars"


def test_all_series_of_a_folder(store, tmp_path):
    seen = []
    made = export_snapshot(store, tmp_path / "out", progress=lambda *what: seen.append(what))
    assert [entry.series for entry in made.manifest.series] == [DAILY, SECONDS]
    assert seen[-1] == ("writing", 2, 2)


def test_some_of_them_and_a_part_of_time(store, tmp_path):
    start, end = iso(START + 9 * DAY), iso(START + 11 * DAY)
    made = export_snapshot(str(store), tmp_path / "out", series=[str(SECONDS)], start=start, end=end)
    (entry,) = made.manifest.series
    assert (entry.series, entry.rows) == (SECONDS, 25)


def test_a_point_in_time(store, tmp_path):
    with EmbeddedStore(store) as opened:
        first = opened.commits(SECONDS)[0].as_of
    made = export_snapshot(store, tmp_path / "out", as_of=first)
    assert made.manifest.as_of == first
    assert made.manifest.rows == 25


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"start": "2024-02-01", "end": "2024-01-01"}, "comes after"),
        ({"series": ["ohlcv:mine:BTC/USDT:5m"]}, "does not know this series"),
        ({"series": ["nonsense"]}, "is not a node id"),
        ({"series": []}, "no series"),
        ({"as_of": 2**62}, "later|newest|beyond|future"),
    ],
)
def test_what_cannot_be_taken(store, tmp_path, options, what):
    with pytest.raises(InvalidRequestError, match=what):
        export_snapshot(store, tmp_path / "out", **options)
    assert not list((tmp_path / "out").rglob("*.json"))


def test_where_there_is_no_store(tmp_path):
    with pytest.raises(InvalidRequestError, match="there is no store at"):
        export_snapshot(tmp_path / "bars", tmp_path / "out")
    assert not (tmp_path / "bars").exists()
    with pytest.raises(InvalidRequestError, match="no series"):
        export_snapshot(MemoryStore(), tmp_path / "out")
