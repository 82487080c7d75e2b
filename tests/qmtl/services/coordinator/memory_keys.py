"""Key values in memory whose every answer a test decides: in time, late, doubled, or never."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from qmtl.foundation.errors import CoordinatorUnavailableError
from qmtl.services.coordinator import memory_keys
from qmtl.services.coordinator.key_values import Put, UnknownLifetimeError


class MemoryKeys(memory_keys.MemoryKeys):
    """Those of an embedded coordinator. on_commit: called before each commit that changes something."""

    def __init__(self) -> None:
        super().__init__()
        self.on_commit: Callable[[Mapping[str, Put | None]], None] = lambda _: None

    def change(self, changes: Mapping[str, Put | None]) -> None:
        if changes:
            self.on_commit(changes)
        super().change(changes)


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
