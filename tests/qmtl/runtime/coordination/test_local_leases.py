"""Leases of one machine: across processes, freed by a death, and refused where nothing can be written."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qmtl.foundation.errors import StoreError
from qmtl.foundation.leases import LeaseKey, ShardProgress
from qmtl.foundation.timeline import EMPTY
from qmtl.runtime.coordination.local_leases import LocalLeases
from qmtl.runtime.coordination.shard_leases import Granted, Held, ShardRequest
from qmtl.runtime.testing.lease_suite import Connect, LeaseSuite, granted

WANTED = [ShardRequest(LeaseKey("store", "ohlcv:test:A/B:1m", 7), EMPTY, 0)]

HOLDER = """
import asyncio, sys, pathlib
from qmtl.foundation.leases import LeaseKey, ShardProgress
from qmtl.foundation.timeline import EMPTY
from qmtl.runtime.coordination.local_leases import LocalLeases
from qmtl.runtime.coordination.shard_leases import ShardRequest
leases = LocalLeases(pathlib.Path(sys.argv[1]))
wanted = [ShardRequest(LeaseKey("store", "ohlcv:test:A/B:1m", 7), EMPTY, 0)]
grants = asyncio.run(leases.claim(wanted, claim_id="theirs"))
asyncio.run(leases.renew(grants, ShardProgress(3, 9)))
print(type(grants[0]).__name__, flush=True)
sys.stdin.read()
"""


class TestLocalLeases(LeaseSuite):
    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        return lambda: LocalLeases(tmp_path / "claims")


@pytest.mark.process
def test_the_death_of_a_holder_frees_its_shard(tmp_path: Path) -> None:
    leases = LocalLeases(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "Granted\n"
        (answer,) = asyncio.run(leases.claim(WANTED, claim_id="ours"))
        assert isinstance(answer, Held)
        assert answer.holder.endswith(f":{holder.pid}")
        assert answer.progress == ShardProgress(3, 9)
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    (answer,) = asyncio.run(leases.claim(WANTED, claim_id="ours"))
    assert isinstance(answer, Granted)


def test_a_lease_that_has_ended_leaves_no_file_behind(tmp_path: Path) -> None:
    leases = LocalLeases(tmp_path)
    grants = granted(asyncio.run(leases.claim(WANTED, claim_id="one")))
    assert len(list(tmp_path.iterdir())) == 1
    asyncio.run(leases.complete(grants, as_of=0))
    assert list(tmp_path.iterdir()) == []


def test_a_note_that_cannot_be_read_hides_nothing_but_itself(tmp_path: Path) -> None:
    leases = LocalLeases(tmp_path)
    asyncio.run(leases.claim(WANTED, claim_id="one"))
    for note in (b"", b"{", b"[1]", b'{"done": "x"}'):
        next(tmp_path.iterdir()).write_bytes(note)
        (answer,) = asyncio.run(leases.claim(WANTED, claim_id="two"))
        assert answer == Held(WANTED[0].key, "another process", None, 0.05)


def progress_seen(folder: Path) -> ShardProgress | None:
    (answer,) = asyncio.run(LocalLeases(folder).claim(WANTED, claim_id="two"))
    assert isinstance(answer, Held)
    return answer.progress


def test_nothing_is_left_of_a_longer_note(tmp_path: Path) -> None:
    leases = LocalLeases(tmp_path)
    grants = granted(asyncio.run(leases.claim(WANTED, claim_id="one")))
    for progress in (ShardProgress(500_000, 525_600), ShardProgress(1, 2), ShardProgress(30, 40)):
        asyncio.run(leases.renew(grants, progress))
        assert progress_seen(tmp_path) == progress
    asyncio.run(leases.complete(grants, as_of=0))


def test_the_note_of_a_holder_that_died_is_replaced(tmp_path: Path) -> None:
    first = LocalLeases(tmp_path / "here")
    asyncio.run(first.claim(WANTED, claim_id="one"))
    (tmp_path / "there").mkdir()
    (file,) = (tmp_path / "here").iterdir()
    (tmp_path / "there" / file.name).write_text("{" * 1_000)
    second = LocalLeases(tmp_path / "there")
    asyncio.run(second.claim(WANTED, claim_id="two"))
    (answer,) = asyncio.run(LocalLeases(tmp_path / "there").claim(WANTED, claim_id="three"))
    assert isinstance(answer, Held)
    assert answer.holder.endswith(f":{os.getpid()}")


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be claimed"):
        asyncio.run(LocalLeases(tmp_path / "file" / "claims").claim(WANTED, claim_id="one"))


def test_a_claim_that_asks_again_and_fails_keeps_what_it_had(tmp_path: Path) -> None:
    leases, more = LocalLeases(tmp_path / "claims"), LeaseKey("store", "ohlcv:test:A/B:1m", 8)
    grants = granted(asyncio.run(leases.claim(WANTED, claim_id="ours")))
    (tmp_path / "claims").rename(tmp_path / "moved")
    (tmp_path / "claims").write_text("no folder")
    with pytest.raises(StoreError):
        asyncio.run(leases.claim([*WANTED, ShardRequest(more, EMPTY, 0)], claim_id="ours"))
    asyncio.run(leases.renew(grants, ShardProgress(1, 2)))
