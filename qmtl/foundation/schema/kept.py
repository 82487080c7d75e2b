"""What was found out before, kept by what it was found out about, in a bounded room."""

from __future__ import annotations

from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Kept(Generic[Key, Value]):
    """Values by key, those that were not used for the longest time given up first. Safe from any thread.

    What is kept must follow from its key alone, and nobody may change it: then no answer depends on what was
    asked before. A key that is an `id` stays true only while its object lives, so the value must hold it.

    room: the sum of sizes that is kept, but for the two entries that overstepped it.
    """

    def __init__(self, room: int) -> None:
        self._half = room // 2
        self._lock = Lock()
        self._size = 0
        # Two generations: what is used moves to the new one, and the old one is given up as a whole, so that
        # finding something is one look into a dict.
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
