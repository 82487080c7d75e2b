"""The audit log on a disk: appended by many, killed at any moment, anchored, never repaired in silence."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from qmtl.foundation.errors import AuditLogError, InvalidRequestError, StoreError, StoreLockedError
from qmtl.foundation.schema.governance.audit import Anchor, Entry, Event
from qmtl.foundation.schema.governance.audit_file import AuditAnchorWarning, AuditLog
from qmtl.runtime.testing import FakeClock

ROUNDS = int(os.environ.get("QMTL_TEST_CRASH_ROUNDS", "100")) // 10

# Appends until it is killed, and says the number of each entry once it is durable.
APPENDER = """
import sys
from pathlib import Path
from qmtl.foundation.schema.governance.audit import Event
from qmtl.foundation.schema.governance.audit_file import AuditLog

log = AuditLog(sys.argv[1], anchors=Path(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[4])):
    print(log.append(Event("note", note=f"{sys.argv[3]} {number} " + "x" * 2_000)).number, flush=True)
"""


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "schemas" / "audit_log.jsonl", anchors=tmp_path / "state")


def appender(log: AuditLog, name: str, count: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(log.path), str(log.anchor_path.parent), name, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def three(log: AuditLog) -> list[Entry]:
    return [log.append(Event("note", note=str(number))) for number in range(3)]


def test_an_entry_says_when_and_is_anchored(tmp_path: Path) -> None:
    clock = FakeClock("2026-03-01T12:00:00.25Z")
    log = AuditLog(tmp_path / "log.jsonl", anchors=tmp_path / "state", clock=clock)
    entry = log.append(Event("note", note="first"))
    assert (entry.number, entry.at, entry.previous) == (1, "2026-03-01T12:00:00.25Z", "0" * 64)
    assert log.path.read_bytes() == entry.line
    kept = json.loads(log.anchor_path.read_text())
    assert kept == {"log": str(log.path), "number": 1, "hash": entry.hash}
    assert log.verify().conclusion == "chain intact, end anchored at entry 1"


def test_without_an_anchor_it_says_so(log: AuditLog) -> None:
    three(log)
    log.anchor_path.unlink()
    assert log.verify().conclusion == "chain intact, end not anchored"


def test_a_head_kept_elsewhere_anchors_too(log: AuditLog) -> None:
    entries = three(log)
    log.anchor_path.unlink()
    head = Anchor(3, entries[2].hash)
    assert log.verify(head).conclusion == "chain intact, end anchored at entry 3"
    log.path.write_bytes(entries[0].line + entries[1].line)
    assert log.verify().is_intact
    assert not log.verify(head).is_intact


def test_a_log_that_was_cut_takes_no_more_entries(log: AuditLog) -> None:
    entries = three(log)
    log.path.write_bytes(entries[0].line)
    with pytest.raises(AuditLogError, match="its end was cut off") as caught:
        log.append(Event("note"))
    assert caught.value.problems == log.verify().problems
    assert str(log.anchor_path) in str(caught.value.next_step)
    assert log.path.read_bytes() == entries[0].line
    log.anchor_path.unlink()  # the way that the message names
    assert log.append(Event("note")).number == 2


def test_a_log_that_is_gone_is_found(log: AuditLog) -> None:
    three(log)
    log.path.unlink()
    assert log.verify().problems
    log.path.touch()
    assert log.verify().problems


def test_a_log_put_in_its_place_is_found(log: AuditLog, tmp_path: Path) -> None:
    three(log)
    other = AuditLog(tmp_path / "other.jsonl", anchors=tmp_path / "state")
    for number in range(5):
        other.append(Event("note", note=f"other {number}"))
    other.path.replace(log.path)
    assert any("replaced by another" in problem for problem in log.verify().problems)


def test_where_there_never_was_a_log_there_is_nothing_to_verify(log: AuditLog) -> None:
    with pytest.raises(InvalidRequestError, match="there is no audit log"):
        log.verify()


def test_a_torn_line_is_reported_and_repaired_visibly(log: AuditLog) -> None:
    entries = three(log)
    torn = b'{"number":4,"at":"2026-\xff\n'[:-1]
    with log.path.open("ab") as file:
        file.write(torn)
    assert log.verify().conclusion == f"the last line is torn: {len(torn)} bytes of an append that broke off"
    with pytest.raises(AuditLogError, match="audit repair"):
        log.append(Event("note"))
    repaired = log.repair("the machine lost power")
    assert repaired is not None
    assert (repaired.number, repaired.action, repaired.note) == (4, "repair", "the machine lost power")
    assert repaired.evidence["torn"].encode("latin-1") == torn
    assert log.path.read_bytes() == b"".join(entry.line for entry in [*entries, repaired])
    assert log.repair() is None
    assert log.verify().is_intact


def test_a_line_that_was_torn_by_hand_is_not_repaired(log: AuditLog) -> None:
    three(log)
    log.path.write_bytes(log.path.read_bytes()[:-1])
    with pytest.raises(AuditLogError, match="its end was cut off"):
        log.repair()


def test_an_anchor_that_cannot_be_kept_is_a_warning_and_the_entry_stands(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "log.jsonl", anchors=tmp_path / "state")
    log.anchor_path.with_suffix(f".{os.getpid()}").mkdir(parents=True)  # where its text would be written
    with pytest.warns(AuditAnchorWarning, match="entry 1"):
        log.append(Event("note"))
    assert log.verify().conclusion == "chain intact, end not anchored"


def test_a_damaged_anchor_is_reported(log: AuditLog) -> None:
    three(log)
    log.anchor_path.write_text("{")
    with pytest.raises(StoreError, match="where the audit log ended"):
        log.verify()


def test_what_is_no_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        AuditLog(tmp_path, anchors=tmp_path / "state").append(Event("note"))
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be opened"):
        AuditLog(tmp_path / "file" / "log.jsonl", anchors=tmp_path / "state").append(Event("note"))


def test_a_full_disk_leaves_the_log_as_it_was(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    three(log)
    before = log.path.read_bytes()
    written = os.pwrite

    def little_room(descriptor: int, data: bytes, place: int) -> int:
        room = len(before) + 50 - place
        if room <= 0 and data:
            raise OSError(28, "No space left on device")
        return written(descriptor, data[:room], place)

    monkeypatch.setattr(os, "pwrite", little_room)
    with pytest.raises(StoreError, match="No space left"):
        log.append(Event("note"))
    assert log.path.read_bytes() == before
    monkeypatch.undo()
    assert log.append(Event("note")).number == 4


def test_a_lock_that_is_held_for_too_long_is_reported(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "log.jsonl", anchors=tmp_path / "state", lock_timeout_s=0.05)
    log.append(Event("note"))
    with log.path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreLockedError):
            log.append(Event("note"))
        with pytest.raises(StoreLockedError):
            log.verify()
    assert log.append(Event("note")).number == 2


def test_two_processes_append_at_once_and_nothing_is_lost(log: AuditLog) -> None:
    processes = [appender(log, name, 40) for name in ("one", "two")]
    for process in processes:
        go(process)
    stated = [int(line) for process in processes for line in process.communicate(timeout=60)[0].split()]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(stated) == list(range(1, 81))
    found = log.verify()
    assert found.conclusion == "chain intact, end anchored at entry 80"
    notes = [entry.note.split()[:2] for entry in found.entries]
    for name in ("one", "two"):
        assert [number for who, number in notes if who == name] == [str(number) for number in range(40)]


def test_killed_appends_are_whole_or_torn_and_reported_crash(log: AuditLog) -> None:
    chance = random.Random(4)
    stated = 0
    for _ in range(ROUNDS):
        process = appender(log, "crash", 100_000)
        go(process)
        assert process.stdout is not None
        # Two, so that each round adds more than itself, however busy the machine is.
        stated = [int(process.stdout.readline()) for _ in range(2)][-1]
        time.sleep(chance.uniform(0, 0.02))  # real work of another process, which no clock of ours drives
        process.send_signal(signal.SIGKILL)
        stated = int((process.communicate()[0].split("\n")[:-1] or [str(stated)])[-1])
        found = log.verify()
        assert found.problems == ()
        # What was said is there; at most one more was finished but not said, or is torn.
        assert stated <= len(found.entries) <= stated + 1
        if found.torn:
            assert log.repair() is not None
    assert log.append(Event("note")).number == len(log.verify().entries)
    assert stated > ROUNDS


def test_an_append_goes_to_the_file_that_bears_the_name(log: AuditLog, tmp_path: Path) -> None:
    """Version control puts another file in the place while somebody waits for the lock of the first."""
    entries = three(log)
    process = None
    with log.path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        process = appender(log, "late", 1)
        go(process)
        copy = tmp_path / "copy"
        copy.write_bytes(b"".join(entry.line for entry in entries))
        copy.replace(log.path)
    assert process.communicate(timeout=60)[0] == "4\n"
    assert len(log.verify().entries) == 4


def test_no_warning_where_all_is_well(log: AuditLog) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        three(log)
