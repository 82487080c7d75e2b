"""Several processes use one store at once, of either engine; nothing is lost, doubled or blocked."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from polars.testing import assert_frame_equal

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.testing.store_model import SERIES
from qmtl.runtime.testing.store_suites.bars import changes_since, minutes, some_bars


def test_pages_of_four_writers_beside_a_compaction(children: Any, script: ModuleType, place: str) -> None:
    writers = [("write_pages", place, worker) for worker in range(4)]
    children.run(*writers, ("compact_and_read", place))
    total = 4 * script.PAGES * script.PAGE
    with script.opened(place) as store:
        snapshot = store.read(script.SHARED, minutes(0, 2 * total))
        assert_frame_equal(snapshot.frame, some_bars(0, total), check_exact=True)
        assert snapshot.answered == Coverage.of(minutes(0, total))
        assert store.verify().is_sound
        for worker in range(4):
            own = SeriesId.parse(f"ohlcv:many:W{worker}:1m")
            assert store.read(own, minutes(0, 99)).frame.height == script.PAGES
        commits = [change.tx for change in changes_since(store, 0)]
        assert len(commits) == len(set(commits)) == 8 * script.PAGES
        assert store.info().rows == total + 4 * script.PAGES


def test_single_bars_of_four_writers(children: Any, script: ModuleType, place: str) -> None:
    children.run(*(("append_bars", place, worker) for worker in range(4)))
    with script.opened(place) as store:
        snapshot = store.read(script.SHARED, minutes(0, 9_999))
        assert_frame_equal(snapshot.frame, some_bars(0, 1_600), check_exact=True)
        assert snapshot.answered == Coverage.of(minutes(0, 1_600))
        assert len(changes_since(store, 0)) == 1_600
        assert store.verify().is_sound


def test_a_store_that_several_lay_out_at_once(children: Any, new_place: Callable[[], str]) -> None:
    for _ in range(20):
        children.run(*[("open_and_close", new_place())] * 6)


def test_a_fork_with_an_open_store(children: Any, script: ModuleType, place: str) -> None:
    children.run(("fork_with_an_open_store", place))
    with script.opened(place) as store:
        assert store.read(SERIES, minutes(0, 9_999)).frame.height == 106
        assert len(changes_since(store, 0)) == 102
        assert store.verify().is_sound
