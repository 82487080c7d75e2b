"""Kept results are what was written, or nothing: whatever befalls the files."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.compiled import Compiled, zone_digest

KEY = {"library": "1.0", "format": "1"}


def test_what_was_written_is_read_by_the_same_key_alone(tmp_path: Path) -> None:
    kept = Compiled(tmp_path / "made" / "when needed", KEY)
    assert kept.read("XNYS") is None
    kept.write("XNYS", b"sessions")
    assert (
        Compiled(tmp_path / "made" / "when needed", dict(reversed(KEY.items()))).read("XNYS") == b"sessions"
    )
    assert Compiled(tmp_path / "made" / "when needed", KEY | {"library": "1.1"}).read("XNYS") is None
    assert kept.read("XNYZ") is None


@given(flip=st.integers(0, 39), bit=st.integers(0, 7), cut=st.integers(0, 39))
def test_damage_is_noticed(tmp_path_factory: pytest.TempPathFactory, flip: int, bit: int, cut: int) -> None:
    kept = Compiled(tmp_path_factory.mktemp("kept"), KEY)
    kept.write("XNYS", b"sessions")
    whole = bytearray(kept.path("XNYS").read_bytes())
    assert len(whole) == 40
    kept.path("XNYS").write_bytes(whole[:cut])
    assert kept.read("XNYS") is None
    whole[flip] ^= 1 << bit
    kept.path("XNYS").write_bytes(whole)
    assert kept.read("XNYS") is None


def test_a_file_under_another_name_is_not_taken(tmp_path: Path) -> None:
    """As where capitals do not count in the names of files."""
    kept = Compiled(tmp_path, KEY)
    kept.write("XNYS", b"sessions")
    kept.path("XNYS").rename(kept.path("xnys"))
    assert kept.read("xnys") is None


@pytest.mark.parametrize("name", ["../XNYS", "24/7", "/etc/passwd", "..", "x\0y", "\n"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    kept = Compiled(tmp_path / "kept", KEY)
    kept.write(name, b"sessions")
    assert kept.read(name) == b"sessions"
    assert kept.path(name).parent == tmp_path / "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_name_that_is_too_long_is_not_kept(tmp_path: Path) -> None:
    kept = Compiled(tmp_path, KEY)
    kept.write("X" * 1_000, b"sessions")
    assert kept.read("X" * 1_000) is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    kept = Compiled(tmp_path / "file" / "below", KEY)
    kept.write("XNYS", b"sessions")
    assert kept.read("XNYS") is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Compiled(tmp_path, KEY)
    real = os.fdopen

    def full(handle: int, mode: str) -> object:
        os.close(handle)
        return real(os.open("/dev/full", os.O_WRONLY), mode)

    monkeypatch.setattr(os, "fdopen", full)
    kept.write("XNYS", b"sessions")
    assert kept.read("XNYS") is None
    assert list(tmp_path.iterdir()) == []


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path: Path) -> None:
    bodies = [bytes([letter]) * 100_000 for letter in b"abcd"]
    seen: list[bytes | None] = []

    def write(body: bytes) -> None:
        kept = Compiled(tmp_path, KEY)
        for _ in range(25):
            kept.write("XNYS", body)
            seen.append(kept.read("XNYS"))

    threads = [threading.Thread(target=write, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 100
    assert set(seen) <= set(bodies)
    assert len(list(tmp_path.iterdir())) == 1


def test_the_rules_of_a_zone_are_those_that_zoneinfo_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {zone_digest("America/New_York"), zone_digest("Asia/Tokyo"), zone_digest("UTC")}
    assert len(known) == 3
    assert "" not in known
    assert zone_digest("Nowhere/Land") == ""
    packaged = zone_digest("Asia/Tokyo") if not TZPATH else None
    changed = tmp_path / "Asia" / "Tokyo"
    changed.parent.mkdir()
    changed.write_bytes(b"other rules")
    monkeypatch.setattr("qmtl.foundation.compiled.TZPATH", (str(tmp_path),))
    assert zone_digest("Asia/Tokyo") not in known | {packaged}
    monkeypatch.setattr("qmtl.foundation.compiled.TZPATH", ())
    assert zone_digest("Asia/Tokyo") != "", "the package tzdata has it"
    assert ZoneInfo("Asia/Tokyo")
