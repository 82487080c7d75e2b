"""The layering is a test: what pyproject.toml promises about imports holds, and a breach would be seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BROKEN = """\
[importlinter]
root_package = qmtl
include_external_packages = True

[importlinter:contract:upside-down]
name = Upside down
type = layers
layers =
    qmtl.foundation
    qmtl.runtime
"""


def lint_imports(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    return subprocess.run(
        [*command, "--no-cache", *map(str, words)], cwd=ROOT, capture_output=True, text=True
    )


@pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="not a checkout")
def test_imports_keep_the_contracts() -> None:
    done = lint_imports("--config", ROOT / "pyproject.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_a_broken_contract_would_be_seen(tmp_path: Path) -> None:
    config = tmp_path / "importlinter.ini"
    config.write_text(BROKEN)
    done = lint_imports("--config", config)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Upside down BROKEN" in done.stdout
