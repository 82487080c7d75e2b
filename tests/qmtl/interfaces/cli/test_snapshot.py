"""Snapshots on the command line: taken, listed, verified, loaded and tidied."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pytest

from qmtl.foundation.times import iso
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from tests.qmtl.command_line import CommandLine
from tests.qmtl.runtime.io.snapshots.filled import DAILY, SECONDS, START, add_seconds, fill


@pytest.fixture
def filled(cli: CommandLine) -> CommandLine:
    with EmbeddedStore(cli.store) as store:
        fill(store)
    return cli


def other(cli: CommandLine, *words: object) -> str:
    """The same, with another store."""
    result = cli.run(*words, before=("--store", str(cli.folder / "other")))
    assert result.exit_code == 0, result.output
    return result.output


def test_from_one_store_to_another(filled):
    made = filled.json("export", "--snapshot", "out")
    assert (made["number"], made["rows"], made["written"], made["kept"]) == (1, 135, 7, 0)
    text = filled.run("export", "--snapshot", "out").output
    assert "snapshot 2 at out: 2 series, 135 bars" in text
    assert "0 files of 0 B written, 7 files of earlier snapshots used again" in text
    loaded = other(filled, "import", "--snapshot", "out")
    assert "every file verified" in loaded
    assert f"{DAILY}: 60 added, 1 report" in loaded
    assert f"fingerprint {made['fingerprint']}" in other(filled, "export", "--snapshot", "again")


def test_one_series_and_a_range(filled):
    end = iso(START + 15 * 86_400 * 10**9)
    made = filled.json("export", SECONDS, "2024-01-05", end, "--snapshot", "out")
    assert [(one["series"], one["rows"]) for one in made["series"]] == [(str(SECONDS), 25)]
    loaded = filled.json("import", "--snapshot", "out", "--number", "1", "--series", SECONDS)
    assert [(one["unchanged"], one["differs"]) for one in loaded["series"]] == [(25, [])]


def test_list_verify_gc(filled):
    assert "there is no snapshot at out" in filled.run("snapshot", "list", "out").output
    filled.run("export", "--snapshot", "out")
    with EmbeddedStore(filled.store) as store:
        add_seconds(store, 10, shift=1.0)
    filled.run("export", "--snapshot", "out")
    listed = filled.json("snapshot", "list", "out")
    assert [(one["number"], one["rows"], one["problem"]) for one in listed] == [
        (1, 135, None),
        (2, 135, None),
    ]
    assert "7 files of" in filled.run("snapshot", "verify", "out").output
    (filled.folder / "out/manifests/00000001.json").unlink()
    shown = filled.run("snapshot", "gc", "out", "--grace", "0s").output
    assert "1 file of" in shown
    assert "--delete removes them" in shown
    assert filled.json("snapshot", "gc", "out", "--delete")["deleted"] == 0, (
        "it is younger than the grace time"
    )
    assert filled.json("snapshot", "gc", "out", "--delete", "--grace", "0s")["deleted"] == 1
    assert filled.json("snapshot", "verify", "out")["problems"] == []


def test_damage_is_told_with_an_exit_code(filled):
    filled.run("export", "--snapshot", "out")
    segment = next((filled.folder / "out/segments").iterdir())
    data = bytearray(segment.read_bytes())
    data[77] ^= 1
    segment.write_bytes(data)
    result = filled.run("snapshot", "verify", "out")
    assert result.exit_code == 7
    assert segment.name in result.output
    assert filled.run("import", "--snapshot", "out").exit_code == 7
    (filled.folder / "out/manifests/00000001.json").write_text("{")
    listed = filled.run("snapshot", "list", "out")
    assert listed.exit_code == 0
    assert "cannot be read" in listed.output
    assert filled.run("export", "--snapshot", "out").exit_code == 7


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("export",), "it is not said where to"),
        (("export", "-o", "x.csv"), "no series is named"),
        (("export", str(DAILY), "-o", "x.csv", "--snapshot", "out"), "cannot stand together"),
        (("export", "--snapshot", "out", "--partial-ok"), "a snapshot is whole"),
        (("export", "--snapshot", ""), "needs a path"),
        (("export", "--snapshot", "ftp://x/y"), "no place of a snapshot"),
        (("import",), "no file is named"),
        (("import", "x.csv", "--number", "3"), "--number is of snapshots"),
        (("import", "x.csv", "--snapshot", "out"), "FILE cannot stand with --snapshot"),
        (("import", "--snapshot", "out", "--tz", "UTC"), "--tz cannot stand with --snapshot"),
        (("import", "--snapshot", "nowhere"), "there is no snapshot at nowhere"),
        (("snapshot", "verify", "nowhere"), "there is no snapshot at nowhere"),
        (("snapshot", "gc", "nowhere", "--grace", "soon"), "soon"),
    ],
)
def test_slips(filled, words, what):
    result = filled.run(*words)
    assert result.exit_code == 2, result.output
    assert what in result.output


def test_settings_name_it_as_a_vendor(filled):
    filled.run("export", "--snapshot", "out")
    filled.config.write_text(
        "seamless:\n  vendors:\n    - {match: 'ohlcv:mine:*', kind: snapshot, path: out, number: 1}\n"
    )
    fetched = other(filled, "fetch", SECONDS, "2024-01-11", "2024-01-11T00:00:50", "--partial-ok")
    assert "25" in fetched
    assert "snapshot:" in fetched
    assert "snapshot 1 of" in filled.run("doctor").output


def test_duckdb_and_polars_read_what_the_newest_manifest_names(filled):
    """The files of the guide, without any code of ours."""
    filled.run("export", "--snapshot", "out")
    out = Path(filled.folder / "out")
    duckdb.sql(f"""
        set variable files = (
            select list('{out}/' || segment.file) from (
                select unnest(series).segments as segments from '{out}/manifests/00000001.json'
            ), unnest(segments) as one(segment)
        );
    """)
    counted = duckdb.sql(
        "select series, count(*) from read_parquet(getvariable('files')) group by all order by 1"
    )
    assert counted.fetchall() == [(str(DAILY), 60), (str(SECONDS), 75)]
    assert pl.scan_parquet(out / "segments/*.parquet").select(pl.len()).collect().item() == 135
