"""Key values in memory whose every answer a test decides: in time, late, doubled, or never."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from qmtl.foundation.errors import CoordinatorUnavailableError
from qmtl.services.coordinator.key_values import (
    Committed,
    Conflict,
    Entry,
    Lifetime,
    Put,
    UnknownLifetimeError,
)


class MemoryKeys:
    """What etcd promises: commits in one order, and lifetimes that end with all of their values at once."""

    most_keys = 128

    def __init__(self) -> None:
        self.now = 0.0
        self.entries: dict[str, Entry] = {}
        self._revision = 0
        self._last_lifetime = 0
        self._lifetimes: dict[int, tuple[int, float]] = {}
        self._belongs: dict[str, int] = {}
        # Called before each commit that changes something.
        self.on_commit: Callable[[Mapping[str, Put | None]], None] = lambda _: None

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for number, (_, until) in list(self._lifetimes.items()):
            if self.now >= until:
                self.end(number)

    def end(self, number: int) -> None:
        self._lifetimes.pop(number, None)
        for key in [key for key, one in self._belongs.items() if one == number]:
            del self._belongs[key], self.entries[key]

    def lifetime_of(self, key: str) -> int:
        return self._belongs[key]

    async def commit(
        self, expected: Mapping[str, int], changes: Mapping[str, Put | None]
    ) -> Committed | Conflict:
        assert len(expected) <= self.most_keys
        assert len(changes) <= self.most_keys
        found = {key: self.entries.get(key) for key in expected}
        if any((entry.revision if entry else 0) != expected[key] for key, entry in found.items()):
            return Conflict(found)
        if any(put and put.lifetime and put.lifetime not in self._lifetimes for put in changes.values()):
            raise UnknownLifetimeError
        if changes:
            self.on_commit(changes)
            self._revision += 1
        for key, put in changes.items():
            self._belongs.pop(key, None)
            if put is None:
                self.entries.pop(key, None)
                continue
            self.entries[key] = Entry(put.value, self._revision)
            if put.lifetime:
                self._belongs[key] = put.lifetime
        return Committed(self._revision)

    async def page(self, prefix: str, *, after: str = "", most: int) -> list[tuple[str, Entry]]:
        keys = sorted(key for key in self.entries if key.startswith(prefix) and key > after)
        return [(key, self.entries[key]) for key in keys[:most]]

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


@dataclass(eq=False)
class Call:
    """A call on its way to the database. It is made whenever `make` is called, any number of times."""

    of: Coroutine[Any, Any, Any] | None
    name: str
    args: tuple[Any, ...]
    options: Mapping[str, Any]

    def __await__(self) -> Generator[Call, Any, Any]:
        return (yield self)


class CallsOf:
    """Stands before a database: each call waits until somebody decides what becomes of it."""

    most_keys = MemoryKeys.most_keys

    def __getattr__(self, name: str) -> Callable[..., Call]:
        return lambda *args, **options: Call(None, name, args, options)


UNAVAILABLE = CoordinatorUnavailableError("no answer came", url="memory")


@dataclass(eq=False)
class Work:
    """A coroutine that is driven by hand, from one call to the next."""

    coroutine: Coroutine[Any, Any, Any]
    call: Call | None = None
    result: Any = None
    error: Exception | None = None
    is_done: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    def go_on(self, answer: Any = None, error: Exception | None = None) -> None:
        """To the next call, or to the end."""
        try:
            self.call = self.coroutine.throw(error) if error else self.coroutine.send(answer)
        except StopIteration as end:
            self.call, self.result, self.is_done = None, end.value, True
        except CoordinatorUnavailableError as failure:
            self.call, self.error, self.is_done = None, failure, True

    def make(self, keys: MemoryKeys, call: Call) -> Any:
        """Make a call of it; the answer, or the exception."""
        try:
            getattr(keys, call.name)(*call.args, **call.options).send(None)
        except StopIteration as end:
            return end.value
        except UnknownLifetimeError as error:
            return error
        raise AssertionError("the database in memory waits for nobody")
