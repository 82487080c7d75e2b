"""Damage is found wherever it is, and nothing is deleted that a snapshot names or may name soon."""

from __future__ import annotations

import os

import pytest

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.errors import InvalidRequestError, StoreCorruptError
from qmtl.foundation.times import HOUR
from qmtl.runtime.io.snapshots.folder import UNFINISHED, FolderPlace
from qmtl.runtime.io.snapshots.manifest import manifest_name
from qmtl.runtime.io.snapshots.numbering import read_manifest
from qmtl.runtime.io.snapshots.place import Entry
from qmtl.runtime.io.snapshots.upkeep import find_garbage, list_snapshots, remove_garbage, verify_snapshot
from qmtl.runtime.io.snapshots.writing import write_snapshot
from tests.qmtl.runtime.io.snapshots.filled import DAILY, SECONDS, add_seconds

NOW = 1_800_000_000 * 1_000_000_000


@pytest.fixture
def twice(store, place):
    """Two snapshots, of which the second has one other segment; all files are ten hours old."""
    first = write_snapshot(store, place, [SECONDS, DAILY], clock=SystemClock()).manifest
    add_seconds(store, 10, shift=1.0)
    second = write_snapshot(store, place, [SECONDS, DAILY], clock=SystemClock()).manifest
    age(place, 10 * HOUR)
    return first, second


def age(place, ns):
    for folder, _, names in os.walk(place.location):
        for name in names:
            os.utime(os.path.join(folder, name), ns=(NOW - ns, NOW - ns))


def test_all_are_listed_and_those_that_cannot_be_read_are_named(place, twice):
    place.put(manifest_name(3), b"{")
    found = list_snapshots(place)
    assert [one.manifest for one in found] == [*twice, None]
    assert "damaged" in found[2].problem


def test_each_file_that_is_damaged_is_found(place, twice):
    _, manifest = twice
    whole = verify_snapshot(place, manifest)
    assert (whole.problems, whole.files, whole.rows) == ((), 7, manifest.rows)
    seen = []
    for part in sorted(manifest.parts, key=lambda part: part.name):
        data = place.get(part.name)
        place.put(part.name, data[:40] + bytes([data[40] ^ 16]) + data[41:])
        found = verify_snapshot(place, manifest, lambda done, total: seen.append((done, total)))
        assert len(found.problems) == 1
        assert part.name in found.problems[0]
        place.put(part.name, data)
    assert seen[-1][0] == seen[-1][1]


def test_what_a_snapshot_names_is_no_garbage(place, twice):
    assert find_garbage(place, now=NOW, grace=HOUR).old == ()


def test_what_no_snapshot_names_goes_after_its_grace(place, twice):
    first, second = twice
    place.remove(manifest_name(first.number))
    (lost,) = {part.name for part in first.parts} - {part.name for part in second.parts}
    unfinished = f"segments/{UNFINISHED}ab"
    place.put(unfinished, b"half")
    place.put("segments/notes.txt", b"not ours")
    age(place, 10 * HOUR)
    young = find_garbage(place, now=NOW, grace=11 * HOUR)
    assert (young.old, young.young) == ((), 2)
    found = find_garbage(place, now=NOW, grace=HOUR)
    assert sorted(one.name for one in found.old) == sorted([lost, unfinished])
    assert remove_garbage(place, found, now=NOW, grace=HOUR) == 2
    assert place.get(lost) is None
    assert place.get("segments/notes.txt") == b"not ours"
    assert verify_snapshot(place, read_manifest(place)).problems == ()


def test_what_a_writer_uses_again_meanwhile_stays(store, place, twice):
    _first, second = twice
    place.remove(manifest_name(second.number))
    found = find_garbage(place, now=NOW, grace=HOUR)
    assert len(found.old) == 1
    # The writer puts the same content once more; its manifest is still to come.
    place.put(found.old[0].name, place.get(found.old[0].name))
    assert remove_garbage(place, found, now=NOW, grace=HOUR) == 0


def test_nothing_is_garbage_while_a_manifest_cannot_be_read(place, twice):
    place.put(manifest_name(1), b"{}")
    with pytest.raises(StoreCorruptError):
        find_garbage(place, now=NOW, grace=0)


class Late(FolderPlace):
    """Lists all manifests but one."""

    hidden = ""

    def entries(self, prefix: str) -> list[Entry]:
        return [entry for entry in super().entries(prefix) if entry.name != self.hidden]


def test_what_a_manifest_names_that_is_listed_late_stays(store, place, twice):
    write_snapshot(store, place, [DAILY], clock=SystemClock())
    age(place, 10 * HOUR)
    late = Late(place.location)
    late.hidden = manifest_name(2)
    assert find_garbage(late, now=NOW, grace=HOUR).old == ()


def test_without_any_snapshot_nothing_is_deleted(place, twice):
    for number in (1, 2):
        place.remove(manifest_name(number))
    with pytest.raises(InvalidRequestError, match="nothing that would stay"):
        find_garbage(place, now=NOW, grace=HOUR)
