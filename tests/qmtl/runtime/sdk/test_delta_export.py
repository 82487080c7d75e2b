"""A table of Delta has what the store had; each export is a version, and of writers at once one has it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from uuid import uuid4

import duckdb
import polars as pl
import pytest
from click.testing import Result
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from qmtl.foundation.errors import (
    InvalidRequestError,
    MissingDependencyError,
    StoreCorruptError,
    StoreError,
)
from qmtl.interfaces.cli.main import app
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import ALL_TIME
from qmtl.runtime.sdk import delta_export
from qmtl.runtime.sdk.delta_export import export_delta
from qmtl.runtime.testing.store_suites.bars import SERIES, some_bars, write
from tests.qmtl.runtime.io.snapshots.filled import DAILY, SECONDS, add_seconds, fill
from tests.qmtl.s3 import BUCKET, S3Server


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    fill(made)
    return made


def bars(store: Store, **options: int) -> pl.DataFrame:
    """All bars of a store, as a table has them."""
    parts = [
        store.read(series, ALL_TIME, **options).frame.select(
            pl.lit(series.text).alias("series"), pl.col("ts").dt.cast_time_unit("us"), pl.exclude("ts")
        )
        for series in (DAILY, SECONDS)
    ]
    return pl.concat(parts).sort("series", "ts")


def table(where: object, version: int | None = None, **options: object) -> pl.DataFrame:
    found = pl.scan_delta(str(where), version=version, **options)  # type: ignore[arg-type]
    return found.collect().sort("series", "ts")


def test_each_export_is_a_version_and_older_ones_stay(store: MemoryStore, tmp_path: Path) -> None:
    seen = []
    first = export_delta(store, tmp_path / "t", progress=lambda *step: seen.append(step))
    before = bars(store)
    assert (first.version, first.series, first.rows) == (0, 2, before.height)
    assert first.as_of == store.newest().as_of
    assert seen[-1] == ("writing", 2, 2)
    add_seconds(store, 10, shift=1.0)
    second = export_delta(store, tmp_path / "t")
    assert second.version == 1
    assert_frame_equal(table(tmp_path / "t"), bars(store), check_dtypes=False)
    assert_frame_equal(table(tmp_path / "t", 0), before, check_dtypes=False)
    again = export_delta(store, tmp_path / "t", as_of=first.as_of)
    assert (again.version, again.as_of) == (2, first.as_of)
    assert_frame_equal(table(tmp_path / "t"), before, check_dtypes=False)


def test_a_time_before_all_commits_is_refused(store: MemoryStore, tmp_path: Path) -> None:
    """A mistyped year would be a newest version without a row."""
    export_delta(store, tmp_path / "t")
    with pytest.raises(InvalidRequestError, match="nothing to export as of 2001-01-01"):
        export_delta(store, tmp_path / "t", as_of="2001-01-01")
    assert export_delta(store, tmp_path / "t").version == 1


def test_a_part_of_it(store: MemoryStore, tmp_path: Path) -> None:
    made = export_delta(store, tmp_path / "t", series=[DAILY], start="2024-01-03", end="2024-01-05")
    found = table(tmp_path / "t")
    assert made.rows == found.height == 2
    assert found["series"].unique().to_list() == [DAILY.text]
    assert found["ts"].dtype == pl.Datetime("us", "UTC")


def test_of_writers_at_once_one_has_the_version_and_the_others_are_told(
    store: MemoryStore, tmp_path: Path
) -> None:
    export_delta(store, tmp_path / "t")
    made, told, barrier = [], [], threading.Barrier(4)

    def run() -> None:
        barrier.wait()
        try:
            made.append(export_delta(store, tmp_path / "t").version)
        except StoreError as failure:
            told.append(failure)

    writers = [threading.Thread(target=run) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(made) == list(range(1, len(made) + 1))
    assert len(made) + len(told) == 4
    assert made
    assert all("at the same time" in failure.what for failure in told)
    assert_frame_equal(table(tmp_path / "t"), bars(store), check_dtypes=False)


def test_what_is_damaged_is_not_written(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "store") as store:
        store.commit(SERIES, write(some_bars(0, 5_000)))
        export_delta(store, tmp_path / "t")
        with store._database.writing() as connection:
            connection.execute("UPDATE blob SET data = ?", (b"spoilt",))
            connection.execute("COMMIT")
        with pytest.raises(StoreCorruptError, match="nothing was written"):
            export_delta(store, tmp_path / "t")
    assert pl.scan_delta(str(tmp_path / "t")).select(pl.len()).collect().item() == 5_000
    assert len(list((tmp_path / "t/_delta_log").glob("*.json"))) == 1


def test_bars_between_two_microseconds_are_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    frame = some_bars(0, 1).with_columns(ts=pl.lit(1).cast(pl.Datetime("ns", "UTC")))
    store.commit(SERIES, write(frame))
    with pytest.raises(InvalidRequestError, match=r"the bar of 1970-01-01T00:00:00.000000001Z"):
        export_delta(store, tmp_path / "t")


def test_where_no_table_can_be(store: MemoryStore, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used/letter").touch()
    with pytest.raises(InvalidRequestError, match="is not empty, and no table"):
        export_delta(store, tmp_path / "used")
    with pytest.raises(InvalidRequestError, match="is a file"):
        export_delta(store, tmp_path / "used/letter")
    with pytest.raises(InvalidRequestError, match="lies in an object store"):
        export_delta(store, "ftp://host/t")
    with pytest.raises(InvalidRequestError, match="has no series"):
        export_delta(MemoryStore(), tmp_path / "t")
    pl.DataFrame({"a": [1]}).write_delta(str(tmp_path / "others"))
    with pytest.raises(StoreError, match="the table of Delta cannot be written") as refused:
        export_delta(store, tmp_path / "others")
    assert refused.value.why
    assert pl.read_delta(str(tmp_path / "others")).to_dict(as_series=False) == {"a": [1]}


def test_without_the_library(store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta_export, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'qmtl\[delta\]'"):
        export_delta(store, tmp_path / "t")


def test_in_an_object_store(store: MemoryStore, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = s3_server.variables()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    url = f"s3://{BUCKET}/{uuid4().hex}/t"
    assert export_delta(store, url).version == 0
    add_seconds(store, 10, shift=1.0)
    assert export_delta(store, url).version == 1
    assert_frame_equal(table(url, storage_options={"allow_http": "true"}), bars(store), check_dtypes=False)


def test_duckdb_reads_it(store: MemoryStore, tmp_path: Path) -> None:
    connection = duckdb.connect()
    try:
        connection.load_extension("delta")
    except duckdb.Error:
        pytest.skip("the extension of DuckDB for Delta is not installed here")
    made = export_delta(store, tmp_path / "t")
    found = connection.execute(f"SELECT count(*) FROM delta_scan('{tmp_path / 't'}')").fetchone()
    assert found == (made.rows,)


def test_the_command(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "store") as store:
        store.commit(SERIES, write(some_bars(0, 50)))

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, ["--store", str(tmp_path / "store"), "export", *words])

    to = ("--snapshot", str(tmp_path / "t"), "--format")
    shown = run("--json", *to, "delta")
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["rows"] == 50
    assert "version 0 of the table at" in " ".join(shown.stderr.split())
    assert run(*to, "iceberg").exit_code == 2
    assert run("-o", str(tmp_path / "x.csv"), "--format", "delta").exit_code == 2
