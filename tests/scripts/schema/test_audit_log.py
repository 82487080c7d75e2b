"""The line that people are told to run works in a checkout, and leaves an entry that verifies."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qmtl.foundation.schema.governance.bundle import Bundle

ROOT = Path(__file__).parents[3]
LINE = ["uv", "run", "python", "scripts/schema/audit_log.py", "--bundle", "schemas/v1"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Another checkout of the same files, which shares the environment."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    shutil.copytree(ROOT / "schemas", folder / "schemas", ignore=shutil.ignore_patterns("*.jsonl"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def run(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("QMTL_")}
    environment |= {
        "XDG_STATE_HOME": str(checkout.parent / "state"),
        "PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    return subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True, check=False)


def test_the_exact_line(checkout: Path) -> None:
    done = run(checkout, *LINE, "--note", "ohlcv 1m v1 canary")
    assert done.returncode == 0, done.stderr
    entry = json.loads((checkout / "schemas" / "audit_log.jsonl").read_text())
    assert (entry["number"], entry["note"], entry["bundle"]) == (1, "ohlcv 1m v1 canary", "schemas/v1")
    assert entry["bundle_sha256"] == Bundle.read(ROOT / "schemas" / "v1").sha256
    assert f"head         1:{entry['hash']}" in done.stdout
    again = run(checkout, *LINE, "--note", "again")
    assert again.returncode == 0, again.stderr
    verified = run(checkout, "uv", "run", "qmtl", "schema", "audit", "verify")
    assert "2 entries; chain intact, end anchored at entry 2" in verified.stdout


def test_a_bundle_that_is_none_is_exit_2(checkout: Path) -> None:
    done = run(checkout, *LINE[:-1], "schemas/v9", "--note", "x")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "nothing is there" in done.stderr


def test_the_log_of_this_checkout_holds() -> None:
    """Whatever was written down here, nobody has edited it since."""
    from qmtl.foundation.schema.governance.audit import read

    log = ROOT / "schemas" / "audit_log.jsonl"
    found = read(log.read_bytes())
    assert found.problems == ()
    assert found.torn == b""
