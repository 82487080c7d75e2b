"""Versions that end leave dead rows behind; the room that they take is bounded, whatever is committed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.store_copy import copy_store
from qmtl.runtime.testing.store_suites.bars import minutes, some_bars

COMMITS = int(os.environ.get("QMTL_TEST_BLOAT_COMMITS", "1500"))
NAMES = [SeriesId.parse(f"ohlcv:live:S{number}:1m") for number in range(4)]
# Tables and indexes are at most so many times as large as those of the same content written afresh. Measured
# after 100,000 commits: 1.12 times.
TIMES = 1.5


def live(store: PostgresStore, first: int, count: int) -> None:
    """Bars as they come in, each tenth a correction of an earlier one, and now and then one of 200 bars."""
    dice = random.Random(first)
    for number in range(first, first + count):
        at = number // len(NAMES)
        bars = 1
        if number % 10 == 9:
            at = max(0, at - dice.randrange(1, 400))
        elif number % 500 == 250:
            at, bars = max(0, at - 300), 200
        frame = some_bars(at, bars, price=100.0 + number % 89)
        store.commit(
            NAMES[number % len(NAMES)], Write("v", number, frame, Coverage.of(minutes(at, at + bars)))
        )


def test_soak_of_commits_whose_history_is_kept(postgres_url: str, new_schema: Callable[[], str]) -> None:
    """With what autovacuum does by itself."""
    fresh = new_schema()
    with PostgresStore(postgres_url) as store:
        live(store, 0, COMMITS)
        copy_store(postgres_url, fresh)
        with PostgresStore(fresh) as copy:
            sizes = store.info().bytes, copy.info().bytes
            assert copy.info().old_versions == store.info().old_versions > COMMITS // 2
    assert sizes[0] < TIMES * sizes[1], sizes


def test_soak_of_commits_of_which_only_the_newest_are_kept(postgres_url: str) -> None:
    """What `compact` clears up is used again: the same number of commits more takes hardly any room."""
    sizes = []
    with PostgresStore(postgres_url, retention=0) as store:
        for part in range(6):
            live(store, part * COMMITS // 6, COMMITS // 6)
            store.compact()
            sizes.append(store.info().bytes)
        assert store.info().old_versions < 500
        assert store.verify().is_sound
    # Between two compactions there is one part of the history, and its dead rows; not what came before.
    assert sizes[-1] < TIMES * sizes[1], sizes
