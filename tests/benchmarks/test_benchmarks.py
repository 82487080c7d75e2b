"""Every benchmark runs, at tiny sizes; what it measures is not judged here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import arctic_environment, real_data
from benchmarks.catalogue import title
from benchmarks.table import NOT_INSTALLED
from tests.qmtl.etcd import etcd_program
from tests.qmtl.postgres import newest_programs
from tests.qmtl.questdb import questdb_jar

ROOT = Path(__file__).resolve().parents[2]
# What needs more than this repository, and says so where it is lacking.
NEEDS_DATA = "Conformance of 10 million rows of real illiquid minutes, tiled"
NEEDS_ETCD = "Claim shards of a coordinator, and complete them"

pytest.importorskip("duckdb", reason="the benchmarks compare with DuckDB: pip install 'qmtl[bench]'")
pytest.importorskip("psutil", reason="the benchmarks tell the machine's memory by psutil")


def run_quickly(folder: Path, *cases: str, **environment: str) -> dict[str, Any]:
    """The figures of a quick run, whose table is renewed in `folder`/benchmarks.md."""
    document, figures = folder / "benchmarks.md", folder / "figures.json"
    document.write_text(
        "before\n<!-- figures: begin -->an earlier table<!-- figures: end -->\nafter\n", encoding="utf-8"
    )
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "--quick",
        *cases,
        "--json",
        figures,
        "--markdown",
        document,
    ]
    ended = subprocess.run(
        list(map(str, command)), cwd=ROOT, env=os.environ | environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    reported: dict[str, Any] = json.loads(figures.read_text(encoding="utf-8"))
    return reported


@pytest.fixture
def temporary() -> Iterator[Path]:
    """An empty folder for temporary files, which the user that PostgreSQL runs as can reach."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_all_cases_run_and_fill_the_table(tmp_path: Path, temporary: Path) -> None:
    # A folder without data and without ArcticDB, whatever this machine has.
    reported = run_quickly(tmp_path, QMTL_TEST_DATA=str(tmp_path), TMPDIR=str(temporary))
    cases = sorted(path.stem for path in (ROOT / "benchmarks" / "cases").glob("[!_]*.py"))
    lacking = [] if newest_programs() else [title(name) for name in cases if name.startswith("postgres")]
    lacking += [] if etcd_program() else [NEEDS_ETCD]
    lacking += [] if questdb_jar() else [title(name) for name in cases if name.startswith("questdb")]
    assert set(reported["skipped"]) == {NEEDS_DATA, *lacking}
    assert len(reported["cases"]) + len(reported["skipped"]) == len(cases), "a case is not in the catalogue"
    measured = [figure for case in reported["cases"].values() for figure in case]
    assert all(figure["measured"] > 0 for figure in measured if "beyond" not in figure["what"])
    table = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "an earlier table" not in table
    assert table.startswith("before\n")
    assert table.endswith("\nafter\n")
    assert all(figure["what"] in table for figure in measured)
    assert f"### {NEEDS_DATA}\n\nSkipped: no real market data in {tmp_path}; set QMTL_TEST_DATA." in table
    assert table.count(NOT_INSTALLED) > 5


@pytest.mark.skipif(
    not real_data.is_there(), reason=f"no real market data in {real_data.DATA}; set QMTL_TEST_DATA"
)
def test_real_bars_are_measured_where_there_are_some(tmp_path: Path) -> None:
    reported = run_quickly(tmp_path, "conformance_illiquid")
    assert reported["skipped"] == {}
    assert len(reported["cases"][NEEDS_DATA]) == 6


@pytest.mark.skipif(
    not arctic_environment.is_installed(), reason="ArcticDB is not installed; `make bench` does that once"
)
def test_arcticdb_does_the_same_work(tmp_path: Path) -> None:
    cases = ("stored_year", "stored_window", "panel", "bulk_write", "append")
    reported = run_quickly(tmp_path, *cases)
    assert reported["machine"]["ArcticDB"] == arctic_environment.version()
    with_peers = [figure for case in reported["cases"].values() for figure in case if figure["peers"]]
    assert len(with_peers) > len(cases)
    assert all(figure["peers"]["ArcticDB"] > 0 for figure in with_peers)


def test_an_unknown_case_is_refused_by_name() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "no_such_case"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert "no_such_case" in ended.stderr
