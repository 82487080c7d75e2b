"""A disk that is full names the file that was asked for, and leaves nothing half-written under its name."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from qmtl.foundation.frames import bars
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.interfaces.cli.bar_output import replacing, write_frames
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import Write

if TYPE_CHECKING:
    from tests.qmtl.command_line import CommandLine

SERIES = "ohlcv:mine:GOLD:1m"
START, ROWS = to_ns("2024-01-02"), 20_000
# No file may become larger; the store has been written before, and is only read.
LIMIT = 50_000


def noise() -> pl.DataFrame:
    """Rows that no format packs below the limit."""
    ts = START + np.arange(ROWS) * MINUTE
    low = 100 + np.random.default_rng(7).random(ROWS)
    return bars(ts, {"open": low, "high": low + 1, "low": low, "close": low, "volume": low})


@pytest.fixture
def filled(cli: CommandLine) -> CommandLine:
    with EmbeddedStore(cli.store) as store:
        span = Span(START, START + ROWS * MINUTE)
        store.commit(SeriesId.parse(SERIES), Write("test", START, frame=noise(), answered=Coverage.of(span)))
    return cli


def limited(cli: CommandLine, *words: str) -> subprocess.CompletedProcess[str]:
    """A command in a process that may not write a file beyond `LIMIT`."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))

    code = "from qmtl.interfaces.cli.main import run; run()"
    return subprocess.run(
        [sys.executable, "-c", code, "--config", cli.config, "--store", cli.store, *words],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
        # Bytecode would be cut at the limit too, and break whoever imports that module next.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


@pytest.mark.parametrize("suffix", ["parquet", "csv", "arrow", "json"])
def test_an_export_to_a_full_disk(filled: CommandLine, suffix: str) -> None:
    target = filled.folder / "out" / f"bars.{suffix}"
    target.parent.mkdir()
    target.write_bytes(b"what was there before")
    done = limited(filled, "export", SERIES, "-o", str(target))
    assert done.returncode == 7, done.stderr
    assert f"{target} cannot be written" in done.stderr
    assert "File too large" in done.stderr
    assert "free some space" in done.stderr
    assert target.read_bytes() == b"what was there before"
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    assert filled.run("export", SERIES, "-o", str(target)).exit_code == 0
    assert target.stat().st_size > LIMIT


def test_bars_of_a_fetch_on_a_full_disk(filled: CommandLine) -> None:
    target = filled.folder / "bars.csv"
    asked = ("2024-01-02", "2024-01-12", "--strategy", "FAIL_FAST", "--partial-ok")
    done = limited(filled, "fetch", SERIES, *asked, "-o", str(target))
    assert done.returncode == 7, done.stderr
    assert f"{target} cannot be written" in done.stderr
    assert not target.exists()


@pytest.mark.parametrize("suffix", ["parquet", "csv", "arrow", "json"])
def test_a_file_that_is_made_by_hand(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"bars.{suffix}"
    write_frames(target, [noise()])
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_a_receipt_names_its_file_too(tmp_path: Path) -> None:
    from qmtl.foundation.errors import StoreError

    target = tmp_path / "receipt.json"
    with pytest.raises(StoreError, match=r"receipt\.json cannot be written") as caught, replacing(target):
        raise OSError(28, "No space left on device")
    assert "No space left" in str(caught.value.why)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError), replacing(target):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_what_lies_before_the_first_commit_is_told(filled: CommandLine) -> None:
    """A store that knew nothing then has no commit to name, and 1970 is none."""
    told = filled.run("export", SERIES, "--as-of", "2020-01-01", "-o", "out.csv").output
    assert told.startswith("0 bars of ")
    assert "before the first commit, written to out.csv" in told
