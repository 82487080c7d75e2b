"""What the coordinator needs of the database behind it: small values, compared and changed together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """A stored value, and the number of the commit that wrote it."""

    value: bytes
    revision: int


class Put(NamedTuple):
    """A value to store; with a lifetime it goes when that ends."""

    value: bytes
    lifetime: int | None = None


class Committed(NamedTuple):
    """All was as expected, and has been changed under this number."""

    revision: int


class Conflict(NamedTuple):
    """Something was not as expected, and nothing has been changed. current: of each key expected, what is."""

    current: Mapping[str, Entry | None]


class Lifetime(NamedTuple):
    """A lifetime: its number, which is never given again, and its seconds as the database has them."""

    number: int
    seconds: int


class UnknownLifetimeError(Exception):
    """A value was to be stored with a lifetime that has ended; nothing has been changed."""


class KeyValues(Protocol):
    """Every method makes one attempt within a time-out of its own.

    Raises `CoordinatorUnavailableError` where it cannot be known that it was done; it may have been, or may
    yet be. `most_keys` may be expected, and as many changed, by one commit.
    """

    @property
    def most_keys(self) -> int: ...

    async def commit(
        self, expected: Mapping[str, int], changes: Mapping[str, Put | None]
    ) -> Committed | Conflict:
        """Change all, if each expected key has the revision expected (0: is not there). None deletes.

        Raises `UnknownLifetimeError`.
        """
        ...

    async def page(self, prefix: str, *, after: str = "", most: int) -> list[tuple[str, Entry]]:
        """The entries whose keys begin with `prefix`, in the order of their bytes, behind the key `after`."""
        ...

    async def revision(self) -> int:
        """The number of the newest commit; all that is read afterwards holds it."""
        ...

    async def begin_lifetime(self, seconds: int) -> Lifetime: ...

    async def keep_alive(self, number: int) -> bool:
        """Begin the seconds of a lifetime again; whether it had not ended."""
        ...

    async def end_lifetime(self, number: int) -> None:
        """End it now, with all values that have it; one that has ended already is no error."""
        ...
