"""Bars and answers come back from their files as they were, and DuckDB and polars read them without us."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.frames import BAR_SCHEMA, empty_bars
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, MINUTE
from qmtl.runtime.io.snapshots.folder import FolderPlace
from qmtl.runtime.io.snapshots.manifest import SEGMENTS, part_of
from qmtl.runtime.io.snapshots.segments import (
    GROUP_ROWS,
    bars_of_bytes,
    bars_to_bytes,
    read_part,
    records_of_bytes,
    records_to_bytes,
)
from qmtl.runtime.io.store.values import CoverageRecord
from qmtl.runtime.testing.bars import synthetic_bars

SERIES = SeriesId.parse("ohlcv:mine:BTC/USDT:USDT:1m")


def minutes(count: int) -> pl.DataFrame:
    return synthetic_bars(SERIES, Span(0, count * MINUTE))


@pytest.mark.parametrize("count", [1, GROUP_ROWS, GROUP_ROWS + 1])
def test_bars_come_back(count):
    frame = minutes(count)
    assert bars_of_bytes(bars_to_bytes(SERIES, frame)).equals(frame)


def test_volumes_may_be_missing():
    frame = minutes(9).with_columns(volume=pl.when(pl.col("ts").dt.minute() > 4).then("volume"))
    assert bars_of_bytes(bars_to_bytes(SERIES, frame)).equals(frame, null_equal=True)
    assert bars_of_bytes(bars_to_bytes(SERIES, empty_bars())).schema == BAR_SCHEMA


def test_the_same_bars_are_the_same_bytes_however_they_lie_in_memory():
    frame = minutes(1_000)
    parts = pl.concat([frame[:300], frame[300:]], rechunk=False)
    assert bars_to_bytes(SERIES, parts) == bars_to_bytes(SERIES, frame)


@pytest.mark.process
def test_files_are_made_without_loading_pandas():
    """Which takes longer than a small export."""
    program = (
        "import sys, tests.qmtl.runtime.io.snapshots.test_segments as here\n"
        "here.bars_to_bytes(here.SERIES, here.minutes(9))\n"
        "here.records_to_bytes([here.CoverageRecord(0, 1, 'answered', 'v', 2, None)])\n"
        "print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_row_groups_have_the_statistics_by_which_readers_skip_them():
    facts = pq.ParquetFile(BytesIO(bars_to_bytes(SERIES, minutes(GROUP_ROWS + 5)))).metadata
    assert [facts.row_group(number).num_rows for number in range(facts.num_row_groups)] == [GROUP_ROWS, 5]
    for number in range(2):
        columns = {facts.row_group(number).column(at).path_in_schema: at for at in range(facts.num_columns)}
        assert list(columns) == ["series", *BAR_SCHEMA.names()]
        assert all(facts.row_group(number).column(at).statistics.has_min_max for at in columns.values())


def test_other_tools_read_them(tmp_path):
    frame = minutes(2_000)
    (tmp_path / "bars.parquet").write_bytes(bars_to_bytes(SERIES, frame))
    found = pl.read_parquet(tmp_path / "bars.parquet")
    assert found.drop("series").equals(frame)
    assert found["series"].unique().to_list() == [SERIES.text]
    rows = duckdb.sql(
        f"select series, count(*), sum(close), epoch_ns(max(ts)) from '{tmp_path}/bars.parquet' group by all"
    ).fetchall()
    ((name, count, total, last),) = rows
    assert (name, count, last) == (SERIES.text, 2_000, 1_999 * MINUTE)
    assert total == pytest.approx(frame["close"].sum())


def test_answers_come_back():
    records = [
        CoverageRecord(0, DAY, "answered", "venue", 3 * DAY, None),
        CoverageRecord(DAY, 2 * DAY, "absent", "venue", 3 * DAY, 4 * DAY),
        CoverageRecord(2 * DAY, 3 * DAY, "refused", "files:a,b.csv", 3 * DAY, None),
    ]
    assert records_of_bytes(records_to_bytes(records)) == records


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda data: data[:50] + bytes([data[50] ^ 1]) + data[51:], "its SHA-256 is"),
        (lambda data: data[:-1], "bytes"),
        (lambda data: data + b"\0", "bytes"),
        (lambda data: None, "it is not there"),
    ],
)
def test_damaged_bytes_are_never_read(tmp_path, damage, why):
    place, data = FolderPlace(tmp_path), bars_to_bytes(SERIES, minutes(100))
    part = part_of(SEGMENTS, data)
    place.put(part.name, data)
    assert read_part(place, part) == data
    after = damage(data)
    place.remove(part.name)
    if after is not None:
        place.put(part.name, after)
    with pytest.raises(StoreCorruptError, match=f"{part.name} of the snapshot is damaged") as raised:
        read_part(place, part)
    assert why in str(raised.value)
