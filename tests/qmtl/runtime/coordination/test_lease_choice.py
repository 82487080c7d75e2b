"""Stores with a folder share their leases with other processes; stores in memory, with whoever has them."""

from __future__ import annotations

import asyncio
import gc
import uuid
import weakref
from pathlib import Path

from qmtl.foundation.leases import LeaseKey
from qmtl.foundation.timeline import EMPTY
from qmtl.runtime.coordination.lease_choice import leases_of
from qmtl.runtime.coordination.shard_leases import Granted, Held, ShardLeases, ShardRequest
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.memory import MemoryStore


def claimed(leases: ShardLeases) -> type:
    request = ShardRequest(LeaseKey("s", "ohlcv:test:A:1m", 7), EMPTY, 0)
    (answer,) = asyncio.run(leases.claim([request], claim_id=uuid.uuid4().hex))
    return type(answer)


def test_all_who_have_a_folder_open_share_its_leases(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "a") as one, EmbeddedStore(tmp_path / "a") as two:
        first, second = leases_of(one), leases_of(two)
        assert (claimed(first), claimed(second)) == (Granted, Held)


def test_all_who_have_a_store_in_memory_share_its_leases_and_nobody_else_does() -> None:
    store, other = MemoryStore(), MemoryStore()
    assert (claimed(leases_of(store)), claimed(leases_of(store))) == (Granted, Held)
    assert claimed(leases_of(other)) is Granted


def test_leases_go_with_their_store() -> None:
    store = MemoryStore()
    leases = weakref.ref(leases_of(store))
    del store
    gc.collect()
    assert leases() is None
