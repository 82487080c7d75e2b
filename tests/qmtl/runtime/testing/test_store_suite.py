"""The suite sees what a store drops or leaves undone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import Commit, Write
from qmtl.runtime.testing import StoreProxy, StoreSuite


class Altering(StoreProxy):
    """Writes something else than what was given."""

    def altered(self, write: Write) -> Write:
        raise NotImplementedError

    def commit(self, series: SeriesId, write: Write) -> Commit:
        return self.inner.commit(series, self.altered(write))

    def commit_many(self, writes: Mapping[SeriesId, Write]) -> dict[SeriesId, Commit]:
        return self.inner.commit_many({series: self.altered(write) for series, write in writes.items()})


class DropsRefused(Altering):
    def altered(self, write: Write) -> Write:
        return replace(write, refused=EMPTY, refused_until=None)


class RefusesForEver(Altering):
    def altered(self, write: Write) -> Write:
        return replace(write, refused_until=None)


class RefusesTooLong(Altering):
    def altered(self, write: Write) -> Write:
        return replace(write, refused_until=write.refused_until and write.refused_until + 1)


class DropsFences(Altering):
    def altered(self, write: Write) -> Write:
        return replace(write, fences={})


class OnlyInBatches(StoreProxy):
    """Drops them in `commit_many` alone."""

    def commit_many(self, writes: Mapping[SeriesId, Write]) -> dict[SeriesId, Commit]:
        return self.inner.commit_many({s: replace(w, fences={}, refused=EMPTY) for s, w in writes.items()})


class NeverCloses(StoreProxy):
    def close(self) -> None:
        pass


REFUSED = "test_what_was_refused_waits_until_it_may_be_asked_for_again"
BATCH = "test_of_a_batch_all_is_kept_or_nothing"


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (DropsRefused, REFUSED),
        (RefusesForEver, REFUSED),
        (RefusesTooLong, REFUSED),
        (OnlyInBatches, REFUSED),
        (DropsFences, BATCH),
        (OnlyInBatches, BATCH),
        (NeverCloses, "test_a_closed_store_cannot_be_used"),
    ],
)
def test_a_wrong_store_is_found(wrong: type[StoreProxy], test: str) -> None:
    getattr(StoreSuite(), test)(StoreProxy(MemoryStore()))
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(StoreSuite(), test)(wrong(MemoryStore()))
