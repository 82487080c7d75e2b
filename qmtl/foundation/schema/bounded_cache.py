"""A cache bounded by the sum of the sizes of its entries, which `functools.lru_cache` cannot be."""

from __future__ import annotations

from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class BoundedCache(Generic[Key, Value]):
    """Values by key; the least recently used are dropped first. Safe to use from any thread.

    A value must follow from its key alone, and nobody may change it: then no answer depends on what was
    asked before. A key that is an `id` is valid only while its object lives, so the value must refer to it.

    limit: the sum of sizes that is kept, plus at most the two entries that exceeded it.
    """

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._lock = Lock()
        self._size = 0
        # Two generations: what is used moves to the new one, and the old one is dropped as a whole, so that
        # a look-up costs one or two dict accesses.
        self._new: dict[Key, tuple[Value, int]] = {}
        self._old: dict[Key, tuple[Value, int]] = {}

    def __len__(self) -> int:
        return len(self._new.keys() | self._old.keys())

    def get(self, key: Key) -> Value | None:
        known = self._new.get(key)
        if known is None:
            known = self._old.get(key)
            if known is None:
                return None
            self.put(key, *known)
        return known[0]

    def put(self, key: Key, value: Value, size: int = 1) -> None:
        with self._lock:
            before = self._new.get(key)
            self._size += size - (before[1] if before is not None else 0)
            self._new[key] = (value, size)
            if self._size > self._half:
                self._old, self._new, self._size = self._new, {}, 0

    def clear(self) -> None:
        with self._lock:
            self._old, self._new, self._size = {}, {}, 0
