"""A shard is claimed once, in one process and across processes, and a death frees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qmtl.foundation.errors import StoreError
from qmtl.foundation.series import SeriesId
from qmtl.runtime.coordination.claims import Claims

SERIES = SeriesId.parse("ohlcv:test:A/B:1m")

HOLDER = """
import sys, pathlib
from qmtl.foundation.series import SeriesId
from qmtl.runtime.coordination.claims import Claims
claim = Claims(pathlib.Path(sys.argv[1])).take(SeriesId.parse("ohlcv:test:A/B:1m"), 7)
print("held" if claim else "taken", flush=True)
sys.stdin.read()
"""


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    first, second = Claims(tmp_path), Claims(tmp_path)
    held = first.take(SERIES, 7)
    assert held is not None
    assert second.take(SERIES, 7) is None
    assert first.take(SERIES, 7) is None
    other = second.take(SERIES, 8)
    assert other is not None
    held.release()
    held.release()
    again = second.take(SERIES, 7)
    assert again is not None
    again.release()
    other.release()
    assert list(tmp_path.iterdir()) == [], "a released claim leaves no file behind"


def test_the_death_of_a_holder_frees_its_shard(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert Claims(tmp_path).take(SERIES, 7) is None
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    claim = Claims(tmp_path).take(SERIES, 7)
    assert claim is not None
    claim.release()


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be claimed"):
        Claims(tmp_path / "file" / "claims").take(SERIES, 7)
