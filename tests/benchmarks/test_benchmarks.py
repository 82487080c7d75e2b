"""Every benchmark runs, at tiny sizes; what it measures is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytest.importorskip("duckdb", reason="the benchmarks compare with DuckDB: pip install 'qmtl[bench]'")
pytest.importorskip("psutil", reason="the benchmarks tell the machine's memory by psutil")


def test_all_cases_run_and_fill_the_table(tmp_path: Path) -> None:
    document, figures = tmp_path / "benchmarks.md", tmp_path / "figures.json"
    document.write_text(
        "before\n<!-- figures: begin -->an earlier table<!-- figures: end -->\nafter\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "benchmarks", "--quick", "--json", figures, "--markdown", document]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(figures.read_text(encoding="utf-8"))
    cases = sorted(path.stem for path in (ROOT / "benchmarks" / "cases").glob("[!_]*.py"))
    assert len(told["cases"]) == len(cases), "a case is not in the catalogue"
    measured = [figure for case in told["cases"].values() for figure in case]
    assert all(figure["measured"] > 0 for figure in measured if "beyond" not in figure["what"])
    table = document.read_text(encoding="utf-8")
    assert "an earlier table" not in table
    assert table.startswith("before\n")
    assert table.endswith("\nafter\n")
    assert all(figure["what"] in table for figure in measured)


def test_an_unknown_case_is_refused_by_name() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "no_such_case"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert "no_such_case" in ended.stderr
