"""What each command says, and how it ends, where stored bytes are damaged."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import to_ns
from qmtl.runtime.testing import ScriptedVendor, Stop, synthetic_bars

SERIES = "ohlcv:test:BTC/USDT:1m"
DAY = ("2024-01-01", "2024-01-02")
LOST = [["2024-01-01", "2024-01-02"]]
Serve = Callable[..., ScriptedVendor]


@pytest.fixture
def bars(cli: Any) -> Path:
    """One day of bars, imported, and a byte of them flipped."""
    frame = synthetic_bars(SeriesId.parse(SERIES), Span(*map(to_ns, DAY)))
    path: Path = cli.folder / "bars.parquet"
    frame.write_parquet(path)
    assert cli.run("import", path, "--series", SERIES).exit_code == 0
    flip_a_byte(cli.store)
    return path


def flip_a_byte(store: Path) -> None:
    connection = sqlite3.connect(store / "bars.sqlite")
    newest, data = connection.execute("SELECT chunk, data FROM blob ORDER BY chunk DESC").fetchone()
    broken = data[:500] + bytes([data[500] ^ 4]) + data[501:]
    connection.execute("UPDATE blob SET data = ? WHERE chunk = ?", (broken, newest))
    connection.commit()
    connection.close()


def test_a_fetch_without_a_vendor_is_exit_7_each_time(cli: Any, bars: Path) -> None:
    for _ in range(2):
        result = cli.run("fetch", SERIES, *DAY)
        assert result.exit_code == 7
        assert "the store is damaged in [2024-01-01, 2024-01-02)" in result.stderr
        assert "no vendor" in result.stderr
        assert cli.json("fetch", SERIES, *DAY, code=7)["error"]["damaged"] == LOST
        assert cli.run("store", "verify").exit_code == 7
        assert cli.json("store", "verify", code=7)["lost"][0]["series"] == SERIES
    partial = cli.json("fetch", SERIES, *DAY, "--partial-ok")
    assert partial["receipt"]["damaged"] == LOST
    assert partial["coverage"]["damaged"] == LOST
    assert [found["rule"] for found in partial["report"]["findings"]] == ["storage.damaged"]


def test_a_fetch_with_a_vendor_heals_it(cli: Any, bars: Path, vendor: Serve) -> None:
    vendor()
    result = cli.json("fetch", SERIES, *DAY)
    assert result["rows"] == 1_440
    assert result["receipt"]["healed"] == LOST
    assert "storage.damaged" in [found["rule"] for found in result["report"]["findings"]]
    assert cli.run("store", "verify").exit_code == 0


def test_an_export_writes_nothing_or_says_what_it_leaves_out(cli: Any, bars: Path) -> None:
    out = cli.folder / "out.csv"
    for look in ("export", "fetch"):
        # The second time, a read that may write has recorded it, and no row of the series is left.
        if look == "fetch":
            assert cli.run("fetch", SERIES, *DAY).exit_code == 7
        result = cli.run("export", SERIES, "-o", out)
        assert result.exit_code == 7
        assert not out.exists()
        assert cli.json("export", SERIES, "-o", out, code=7)["error"]["damaged"] == LOST
        assert not out.exists()
    assert cli.json("export", SERIES, "-o", out, "--partial-ok")["damaged"] == LOST
    assert "left out, for it is damaged" in cli.run("export", SERIES, "-o", out, "--partial-ok").stdout
    assert out.read_text().count("\n") == 1, "the header alone"


def test_coverage_names_it(cli: Any, bars: Path) -> None:
    result = cli.run("coverage", SERIES, *DAY)
    assert result.exit_code == 0
    assert "damaged  [2024-01-01, 2024-01-02)  1,440 bars" in result.stdout
    assert cli.json("coverage", SERIES, *DAY)["damaged"] == LOST


def test_a_difference_over_it_is_exit_7(cli: Any, bars: Path) -> None:
    before = cli.json("fetch", SERIES, *DAY, "--partial-ok")["receipt"]["as_of"]
    assert cli.run("import", bars, "--series", SERIES).exit_code == 0
    after = cli.json("fetch", SERIES, *DAY)["receipt"]["as_of"]
    result = cli.run("diff", SERIES, before, after)
    assert result.exit_code == 7
    assert "what changed cannot be told" in result.stderr
    reported = cli.json("diff", SERIES, before, after, "--partial-ok")
    assert (reported["counts"], reported["damaged"]) == ({}, LOST)


def test_what_was_lost_is_reported_until_it_is_acknowledged(cli: Any, bars: Path) -> None:
    assert cli.run("store", "verify", "--repair").exit_code == 0
    for _ in range(2):
        result = cli.run("store", "verify")
        assert result.exit_code == 7
        assert "1 range lost to earlier damage" in result.stderr
        assert "--acknowledge" in result.stderr
    assert "store verify" in cli.run("store", "info").stdout
    assert cli.json("store", "verify", "--acknowledge")["acknowledged"] == 1
    assert cli.run("store", "verify").exit_code == 0
    assert cli.run("fetch", SERIES, *DAY).exit_code == 3, "it is plainly missing now"


def test_an_import_heals_it(cli: Any, bars: Path) -> None:
    assert cli.run("import", bars, "--series", SERIES).exit_code == 0
    assert cli.run("store", "verify").exit_code == 0
    assert cli.json("fetch", SERIES, *DAY)["rows"] == 1_440


def test_a_backfill_that_does_not_heal_it_is_exit_7(cli: Any, bars: Path, vendor: Serve) -> None:
    vendor(faults={0: Stop()})
    result = cli.run("backfill", SERIES, *DAY)
    assert result.exit_code == 7
    assert "it did not heal" in result.stderr


def test_an_emptied_file_is_corrupt_and_stays_as_it_is(cli: Any, bars: Path) -> None:
    (cli.store / "bars.sqlite").write_bytes(b"")
    for words in (("fetch", SERIES, *DAY), ("store", "info"), ("import", bars, "--series", SERIES)):
        result = cli.run(*words)
        assert result.exit_code == 7
        assert "bars.sqlite is empty, and was not always" in result.stderr
    assert (cli.store / "bars.sqlite").read_bytes() == b""


def test_backup_and_restore(cli: Any, bars: Path) -> None:
    cli.run("import", bars, "--series", SERIES)
    copy = cli.folder / "copy"
    made = cli.json("store", "backup", copy)
    assert made["last_tx"] == cli.json("store", "info")["last_tx"]
    flip_a_byte(cli.store)
    refused = cli.run("store", "backup", cli.folder / "other")
    assert refused.exit_code == 7
    assert not (cli.folder / "other").exists()
    assert cli.run("fetch", SERIES, *DAY).exit_code == 7
    refused = cli.run("store", "restore", copy)
    assert refused.exit_code == 2
    assert "--replace" in refused.stderr
    assert cli.run("store", "restore", copy, "--replace").exit_code == 0
    assert cli.json("fetch", SERIES, *DAY)["rows"] == 1_440
    shutil.rmtree(cli.store)
    assert "restored to" in cli.run("store", "restore", copy).stdout
    assert cli.json("fetch", SERIES, *DAY)["rows"] == 1_440


def test_a_backup_onto_itself_is_bad_input(cli: Any, bars: Path) -> None:
    (cli.folder / "link").symlink_to(cli.store)
    for name in (cli.store, "bars", "./bars/", "link", cli.store / "within", cli.folder):
        result = cli.run("store", "backup", name)
        assert result.exit_code == 2, result.output
        assert cli.run("store", "restore", name, "--replace").exit_code == 2
    full = cli.folder / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("precious")
    assert cli.run("store", "backup", full).exit_code == 2
    assert [entry.name for entry in full.iterdir()] == ["thesis.txt"]
