"""The script that starts a fleet: what it says and refuses. That it works, the demo shows that uses it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "operations/fleet.sh"


def said(word: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, word, folder], env={**os.environ, **env}, capture_output=True, text=True, check=False
    )


def test_words_that_it_does_not_know(tmp_path: Path) -> None:
    done = said("restart", tmp_path)
    assert done.returncode == 2
    assert "fleet.sh start [DIR]" in done.stderr
    assert "set -euo" not in done.stderr


def test_where_nothing_was_started(tmp_path: Path) -> None:
    done = said("status", tmp_path)
    assert (done.returncode, done.stdout.count("ended"), "runs" in done.stdout) == (3, 10, False)
    stopped = said("stop", tmp_path)
    assert (stopped.returncode, "no fleet was started" in stopped.stdout) == (0, True)


def test_a_process_that_has_the_id_of_a_part_by_chance_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pids").mkdir()
    with subprocess.Popen(["sleep", "60"]) as other:
        # It began at another time than the part did.
        for start in ("12345", ""):
            (tmp_path / "pids/worker-0").write_text(f"{other.pid} {start}\n")
            assert "runs" not in said("status", tmp_path).stdout
            assert said("stop", tmp_path).returncode == 0
        assert other.poll() is None
        other.kill()


def test_without_etcd_it_says_so(tmp_path: Path) -> None:
    done = said("start", tmp_path / "fleet", FLEET_ETCD=str(tmp_path / "none"))
    assert (done.returncode, "no etcd in PATH" in done.stderr) == (2, True)
    assert not (tmp_path / "fleet").exists()


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="there is no shellcheck")
def test_nothing_in_it_is_doubtful() -> None:
    done = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
