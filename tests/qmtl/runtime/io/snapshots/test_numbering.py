"""Manifests are numbered without a clash, whoever writes at the same time; a late listing hides none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import pytest

from qmtl.foundation.errors import InvalidRequestError, StoreCorruptError
from qmtl.runtime.io.snapshots.folder import FolderPlace
from qmtl.runtime.io.snapshots.manifest import Manifest, manifest_name
from qmtl.runtime.io.snapshots.numbering import newest_manifest, numbers, publish, read_manifest
from qmtl.runtime.io.snapshots.place import Entry


def draft(writer: str | None = None) -> Manifest:
    return Manifest(0, writer or uuid4().hex, 5, "qmtl 0", "store", 4, ())


def written(place: FolderPlace, after: int = 0) -> Manifest:
    made = draft()
    return publish(place, lambda number: replace(made, number=number), after)


class LateListing(FolderPlace):
    """Lists nothing that was written, as an object store may for a while."""

    def entries(self, prefix: str) -> list[Entry]:
        return []


class LostAnswer(FolderPlace):
    """Writes, and says that somebody else did: the answer was lost, and the question repeated."""

    def create(self, name: str, data: bytes) -> bool:
        super().create(name, data)
        return False


def test_nothing_is_there_yet(place):
    assert numbers(place) == []
    assert newest_manifest(place) is None
    with pytest.raises(InvalidRequestError, match="there is no snapshot at"):
        read_manifest(place)
    with pytest.raises(InvalidRequestError, match="there is no snapshot 1 at"):
        read_manifest(place, 1)


def test_they_are_counted(place):
    assert [written(place).number for _ in range(3)] == [1, 2, 3]
    assert numbers(place) == [1, 2, 3]
    assert newest_manifest(place) == read_manifest(place, 3) == read_manifest(place)
    place.remove(manifest_name(2))
    place.put("manifests/notes.txt", b"mine")
    assert numbers(place) == [1, 3]
    assert written(place, 3).number == 4


def test_each_of_many_writers_gets_its_own_number(place):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: written(place), range(24)))
    assert sorted(one.number for one in made) == list(range(1, 25))
    assert all(read_manifest(place, one.number) == one for one in made)


def test_a_listing_that_comes_late_hides_nothing_from_its_first_on(tmp_path, place):
    for _ in range(3):
        written(place)
    assert numbers(LateListing(tmp_path / "snapshots")) == [1, 2, 3]


def test_an_answer_that_was_lost_does_not_publish_twice(tmp_path, place):
    assert written(LostAnswer(tmp_path / "snapshots")).number == 1
    assert numbers(place) == [1]


def test_a_damaged_newest_one_is_no_reason_to_take_another(place):
    written(place)
    place.put(manifest_name(2), b"{")
    with pytest.raises(StoreCorruptError):
        newest_manifest(place)
    assert read_manifest(place, 1).number == 1
