"""Fencing tokens, as tests that an implementation inherits."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from qmtl.foundation.errors import InvalidRequestError, StaleFenceError
from qmtl.foundation.leases import LeaseKey
from qmtl.foundation.timeline import EMPTY, Coverage
from qmtl.runtime.coordination.local_leases import LocalLeases
from qmtl.runtime.coordination.memory_leases import MemoryLeases
from qmtl.runtime.coordination.shard_leases import ShardLeases, ShardRequest
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.lease_suite import granted
from qmtl.runtime.testing.store_suites.bars import OTHER, SERIES, minutes, some_bars, write


class FencingSuite:
    """Inherit it, and give a fixture `store` that is an empty, writable store."""

    def test_a_store_has_one_name_and_one_grid_of_shards(self, store: Store) -> None:
        assert store.store_id
        assert store.store_id == store.store_id
        assert store.place_id
        assert store.place_id == store.place_id
        assert store.shard_steps == 10_000

    def test_each_claim_gets_larger_tokens_than_all_before_it(self, store: Store) -> None:
        first = store.open_fence(SERIES, [3, -1, 3], "one")
        assert sorted(first) == [-1, 3]
        second = store.open_fence(SERIES, [3], "two")
        other = store.open_fence(OTHER, [3], "three")
        assert 0 < max(first.values()) < second[3] < other[3], "one sequence for all series of the store"
        assert store.open_fence(SERIES, [], "four") == {}
        assert store.newest() == (0, 0), "no bar has changed"

    def test_tokens_rise_whoever_has_granted_the_lease(self, store: Store, tmp_path: Path) -> None:
        """Leases of a coordinator, of the one that was set up in its place, and of this machine, in turn."""
        local, coordinator, rebuilt = LocalLeases(tmp_path / "claims"), MemoryLeases(), MemoryLeases()
        turns: list[ShardLeases] = [local, coordinator, local, rebuilt, local, rebuilt]
        key = LeaseKey(store.place_id, SERIES.text, 3)
        newest = 0
        for number, leases in enumerate(turns):
            claim_id = f"claim {number}"
            asked = ShardRequest(key, EMPTY, store.newest().as_of)
            (grant,) = granted(asyncio.run(leases.claim([asked], claim_id=claim_id)))
            tokens = store.open_fence(SERIES, [3], claim_id)
            assert tokens[3] > newest
            (newest,) = tokens.values()
            late = write(some_bars(30_000, 1), fences={3: newest - 1})
            with pytest.raises(StaleFenceError):
                store.commit(SERIES, late)
            store.commit(SERIES, write(some_bars(30_000 + number, 1), fences=tokens))
            asyncio.run(leases.complete([grant], as_of=store.newest().as_of))
        assert store.read(SERIES, minutes(30_000, 40_000)).frame.height == 6

    def test_a_claim_that_asks_again_gets_what_it_has(self, store: Store) -> None:
        first = store.open_fence(SERIES, [1, 2], "one")
        assert store.open_fence(SERIES, [2, 1], "one") == first
        more = store.open_fence(SERIES, [1, 2, 3], "one")
        assert (more[1], more[2]) == (first[1], first[2])
        assert more[3] > first[1]
        overtaken = store.open_fence(SERIES, [2], "two")
        again = store.open_fence(SERIES, [1, 2], "one")
        assert again[1] == first[1]
        assert again[2] > overtaken[2], "who was overtaken begins anew"

    def test_a_write_under_the_newest_tokens_is_kept(self, store: Store) -> None:
        tokens = store.open_fence(SERIES, [0, 1], "one")
        commit = store.commit(SERIES, write(some_bars(9_990, 20), fences=tokens))
        assert commit.added == 20
        assert store.commit(SERIES, write(some_bars(0, 1))).added == 1, "others may write without"

    @pytest.mark.parametrize("count", [1, 20_000])
    @pytest.mark.parametrize("overtaken", [0, 1, 2])
    def test_one_stale_token_of_three_refuses_the_whole_write(
        self, store: Store, overtaken: int, count: int
    ) -> None:
        known = write(some_bars(0, 5), answered=Coverage.of(minutes(0, 5)))
        store.commit(SERIES, known)
        tokens = store.open_fence(SERIES, [0, 1, 2], "one")
        newer = store.open_fence(SERIES, [overtaken], "two")
        before, token = store.newest(), store.changed_since(None).token
        impossible = some_bars(6, 1).with_columns(rule=pl.lit("high_is_highest"))
        late = write(
            some_bars(0, count, price=9.0),
            answered=Coverage.of(minutes(0, 30_000)),
            fences=tokens,
            quarantine=impossible,
            delivered_at={0: 1},
        )
        with pytest.raises(StaleFenceError, match=f"shard {overtaken}: token") as refused:
            store.commit(SERIES, late)
        assert refused.value.stale == {overtaken: tokens[overtaken]}
        assert refused.value.series == SERIES.text
        assert refused.value.next_step
        assert store.newest() == before
        assert store.changed_since(token).commits == []
        snapshot = store.read(SERIES, minutes(0, 30_000))
        assert snapshot.frame.equals(some_bars(0, 5))
        assert snapshot.answered == Coverage.of(minutes(0, 5))
        assert store.quarantined(SERIES, minutes(0, 30_000)).is_empty()
        assert store.deliveries(SERIES, minutes(0, 30_000)).is_empty()
        assert store.commit(SERIES, write(some_bars(5, 1), fences={**tokens, **newer})).added == 1

    def test_a_stale_write_that_brings_nothing_new_is_refused_too(self, store: Store) -> None:
        tokens = store.open_fence(SERIES, [0], "one")
        store.commit(SERIES, write(some_bars(0, 5), fences=tokens))
        store.open_fence(SERIES, [0], "two")
        with pytest.raises(StaleFenceError):
            store.commit(SERIES, write(some_bars(0, 5), fences=tokens))

    def test_a_token_that_was_never_issued_is_refused(self, store: Store) -> None:
        token = store.open_fence(SERIES, [0], "one")[0]
        for fences in ({0: token + 1}, {0: token, 1: token}, {0: token, 1: token + 7}):
            with pytest.raises(StaleFenceError):
                store.commit(SERIES, write(some_bars(0, 5), fences=fences))
        with pytest.raises(StaleFenceError, match="never issued"):
            store.commit(OTHER, write(some_bars(0, 5), fences={0: token}))
        assert store.newest() == (0, 0)

    @pytest.mark.parametrize(
        "late",
        [
            write(some_bars(9_999, 2)),
            write(answered=Coverage.of(minutes(0, 10_001))),
            write(retracted=Coverage.of(minutes(-1, 1))),
        ],
        ids=["rows", "answered", "retracted"],
    )
    def test_a_fenced_write_names_every_shard_that_it_touches(self, store: Store, late: Write) -> None:
        tokens = store.open_fence(SERIES, [0], "one")
        with pytest.raises(InvalidRequestError, match="no token for a shard") as refused:
            store.commit(SERIES, replace(late, fences=tokens))
        assert refused.value.series == SERIES.text
        assert store.newest() == (0, 0)
        whole = store.open_fence(SERIES, [-1, 0, 1], "one")
        store.commit(SERIES, replace(late, fences=whole))

    def test_many_claims_at_once_never_share_a_token(self, store: Store) -> None:
        found: list[int] = []

        def claim(name: str) -> None:
            for _ in range(20):
                found.append(store.open_fence(SERIES, [0], f"{name} {len(found)} {_}")[0])

        threads = [threading.Thread(target=claim, args=(str(n),)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert len(set(found)) == len(found) == 80
