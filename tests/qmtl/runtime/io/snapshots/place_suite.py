"""What every place of snapshots promises, as tests that each one inherits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from qmtl.runtime.io.snapshots.place import Place


class PlaceSuite:
    """Give a fixture `place`: a new one, with nothing in it."""

    @pytest.fixture
    def place(self) -> Place:
        raise NotImplementedError

    def test_what_is_not_there_is_none(self, place: Place) -> None:
        assert place.get("segments/a") is None
        assert place.size("segments/a") is None
        assert place.entries("segments/") == []
        place.remove("segments/a")

    def test_what_was_put_is_read_and_replaced(self, place: Place) -> None:
        place.put("segments/a", b"one")
        assert (place.get("segments/a"), place.size("segments/a")) == (b"one", 3)
        place.put("segments/a", b"three")
        assert (place.get("segments/a"), place.size("segments/a")) == (b"three", 5)

    def test_what_is_there_is_not_created_again(self, place: Place) -> None:
        assert place.create("manifests/1", b"first")
        assert not place.create("manifests/1", b"second")
        assert place.get("manifests/1") == b"first"

    def test_a_listing_is_of_one_folder_by_name(self, place: Place) -> None:
        for name in ("segments/b", "segments/a", "manifests/1"):
            place.put(name, name.encode())
        found = place.entries("segments/")
        assert [(one.name, one.size) for one in found] == [("segments/a", 10), ("segments/b", 10)]
        assert all(one.modified > 0 for one in found)

    def test_what_was_removed_is_gone(self, place: Place) -> None:
        place.put("segments/a", b"one")
        place.remove("segments/a")
        assert place.get("segments/a") is None
        assert place.entries("segments/") == []

    def test_of_many_who_create_one_wins(self, place: Place) -> None:
        for number in range(8):
            start = Barrier(8)

            def create(writer: int, start: Barrier = start, name: str = f"manifests/{number}") -> bool:
                start.wait(60)
                return place.create(name, str(writer).encode() * 1_000)

            with ThreadPoolExecutor(8) as pool:
                won = list(pool.map(create, range(8)))
            assert sum(won) == 1
            assert place.get(f"manifests/{number}") == str(won.index(True)).encode() * 1_000
