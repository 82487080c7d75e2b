"""The suite sees what a store drops or leaves undone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Span
from qmtl.runtime import testing
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import Commit, Snapshot, Write
from qmtl.runtime.testing import StoreProxy, StoreSuite
from qmtl.runtime.testing.store_suites.bars import minutes


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


def test_every_suite_of_the_store_can_be_inherited_by_itself_and_is_documented() -> None:
    page = (Path(__file__).parents[4] / "docs/en/reference/testing.md").read_text()
    names = [suite.__name__ for suite in StoreSuite.__bases__]
    assert [name for name in names if not hasattr(testing, name)] == []
    assert [name for name in names if f"`{name}`" not in page] == []


class ForgetsInBatches(StoreProxy):
    """Drops one field of each write in `commit_many`."""

    field = ""

    def commit_many(self, writes: Mapping[SeriesId, Write]) -> dict[SeriesId, Commit]:
        empty = getattr(Write("", 0), self.field)
        return self.inner.commit_many({s: replace(w, **{self.field: empty}) for s, w in writes.items()})


class ReplacesNothingInBatches(StoreProxy):
    def commit_many(self, writes: Mapping[SeriesId, Write]) -> dict[SeriesId, Commit]:
        made = self.inner.commit_many(writes)
        return {series: replace(one, replaced=one.replaced.clear()) for series, one in made.items()}


SEEN_IN_BATCHES = [
    one.name for one in fields(Write) if one.name not in ("frame", "fences", "source", "checked_at")
]


@pytest.mark.parametrize("field", SEEN_IN_BATCHES)
def test_a_batch_that_drops_a_field_is_found(field: str) -> None:
    wrong = type("Wrong", (ForgetsInBatches,), {"field": field})
    check = StoreSuite().test_writes_of_several_series_are_as_many_commits
    check(StoreProxy(MemoryStore()), 40)
    with pytest.raises(AssertionError):
        check(wrong(MemoryStore()), 40)


def test_a_batch_that_hides_what_it_replaced_is_found() -> None:
    with pytest.raises(AssertionError):
        StoreSuite().test_writes_of_several_series_are_as_many_commits(
            ReplacesNothingInBatches(MemoryStore()), 40
        )


class ReadsManyWithout(StoreProxy):
    """Ignores one option of `read_many`."""

    option = ""

    def read_many(self, series: Iterable[SeriesId], span: Span, **options: Any) -> dict[SeriesId, Snapshot]:
        return self.inner.read_many(series, span, **{**options, self.option: READ_MANY[self.option]})


READ_MANY: dict[str, Any] = {"context": 0, "flags_by": None, "as_of": None}


@pytest.mark.parametrize("option", READ_MANY)
def test_a_read_of_several_that_ignores_an_option_is_found(option: str) -> None:
    wrong = type("Wrong", (ReadsManyWithout,), {"option": option})
    check = StoreSuite().test_several_series_are_read_like_each_of_them
    check(StoreProxy(MemoryStore()), minutes(20, 30), 3)
    with pytest.raises(AssertionError):
        check(wrong(MemoryStore()), minutes(20, 30), 3)


def test_a_read_of_several_that_cannot_be_cancelled_is_found() -> None:
    class Wrong(StoreProxy):
        def read_many(
            self, series: Iterable[SeriesId], span: Span, **options: Any
        ) -> dict[SeriesId, Snapshot]:
            return self.inner.read_many(series, span)

    check = StoreSuite().test_a_read_of_several_series_that_is_cancelled_is_abandoned
    check(StoreProxy(MemoryStore()))
    with pytest.raises(pytest.fail.Exception):
        check(Wrong(MemoryStore()))
