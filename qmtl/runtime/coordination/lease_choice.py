"""The leases that go with a store: of all processes of a machine, or of this process alone."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from qmtl.runtime.coordination.local_leases import LocalLeases
from qmtl.runtime.coordination.memory_leases import MemoryLeases
from qmtl.runtime.coordination.shard_leases import ShardLeases
from qmtl.runtime.io.store.contract import Fencing

_of_stores: WeakKeyDictionary[Fencing, MemoryLeases] = WeakKeyDictionary()


def leases_of(store: Fencing) -> ShardLeases:
    """Files in the folder of the store, for all who have it open; without a folder, those of this process."""
    if store.folder is not None:
        return LocalLeases(store.folder / "claims")
    return _of_stores.setdefault(store, MemoryLeases())
