"""The demo of a store in QuestDB: all that it claims is true, and what it lacks it names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from qmtl.foundation.errors import StoreError
from qmtl.interfaces.demo.in_questdb import server
from tests.qmtl.questdb import questdb_jar


@pytest.mark.usefixtures("questdb_server")
def test_all_that_it_claims_is_true() -> None:
    words = [sys.executable, "-m", "qmtl.interfaces.demo.in_questdb", str(questdb_jar())]
    done = subprocess.run(words, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FALSE" not in done.stdout
    claims = [line for line in done.stdout.splitlines() if line.startswith("  true   ")]
    assert len(claims) == 12, done.stdout


def test_without_the_jar_it_says_what_fetches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.shutil, "which", lambda name: f"/usr/bin/{name}")
    with (
        pytest.raises(StoreError, match="needs QuestDB") as lacking,
        server.running_server(tmp_path / "no.jar"),
    ):
        pass
    assert (lacking.value.next_step or "").startswith("scripts/get_questdb.sh")


def test_without_java_it_says_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.shutil, "which", lambda name: None)
    with pytest.raises(StoreError, match="needs QuestDB") as lacking, server.running_server(tmp_path / "jar"):
        pass
    assert lacking.value.next_step == "apt-get install openjdk-17-jre-headless"
