"""Key values in the memory of this process, for a coordinator that needs no database."""

from __future__ import annotations

from collections.abc import Mapping

from qmtl.services.coordinator.key_values import (
    Committed,
    Conflict,
    Entry,
    Lifetime,
    Put,
    UnknownLifetimeError,
)


class MemoryKeys:
    """What etcd promises: commits in one order, and lifetimes that end with all of their values at once.

    Nothing waits, and time passes only by `pass_time`. `entries` is all that there is, `now` seconds since
    the beginning.
    """

    most_keys = 128

    def __init__(self) -> None:
        self.now = 0.0
        self.entries: dict[str, Entry] = {}
        self._revision = 0
        self._last_lifetime = 0
        self._lifetimes: dict[int, tuple[int, float]] = {}
        self._belongs: dict[str, int] = {}

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for number, (_, until) in list(self._lifetimes.items()):
            if self.now >= until:
                self.end(number)

    def end(self, number: int) -> None:
        """End a lifetime, with all values that have it."""
        self._lifetimes.pop(number, None)
        for key in [key for key, one in self._belongs.items() if one == number]:
            del self._belongs[key], self.entries[key]

    def lifetime_of(self, key: str) -> int | None:
        """The number of the lifetime of a value; None if it stays."""
        return self._belongs.get(key)

    async def commit(
        self, expected: Mapping[str, int], changes: Mapping[str, Put | None]
    ) -> Committed | Conflict:
        found = {key: self.entries.get(key) for key in expected}
        if any((entry.revision if entry else 0) != expected[key] for key, entry in found.items()):
            return Conflict(found)
        if any(put and put.lifetime and put.lifetime not in self._lifetimes for put in changes.values()):
            raise UnknownLifetimeError
        self.change(changes)
        return Committed(self._revision)

    def change(self, changes: Mapping[str, Put | None]) -> None:
        """All of it, whatever was there."""
        self._revision += bool(changes)
        for key, put in changes.items():
            self._belongs.pop(key, None)
            if put is None:
                self.entries.pop(key, None)
                continue
            self.entries[key] = Entry(put.value, self._revision)
            if put.lifetime:
                self._belongs[key] = put.lifetime

    async def page(self, prefix: str, *, after: str = "", most: int) -> list[tuple[str, Entry]]:
        keys = sorted(key for key in self.entries if key.startswith(prefix) and key > after)
        return [(key, self.entries[key]) for key in keys[:most]]

    async def revision(self) -> int:
        return self._revision

    async def begin_lifetime(self, seconds: int) -> Lifetime:
        self._last_lifetime += 1
        self._lifetimes[self._last_lifetime] = seconds, self.now + seconds
        return Lifetime(self._last_lifetime, seconds)

    async def keep_alive(self, number: int) -> bool:
        if number not in self._lifetimes:
            return False
        seconds, _ = self._lifetimes[number]
        self._lifetimes[number] = seconds, self.now + seconds
        return True

    async def end_lifetime(self, number: int) -> None:
        self.end(number)

    async def close(self) -> None:
        """Nothing is open."""
