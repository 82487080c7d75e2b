"""What a snapshot asks of the place where it lies: a few verbs over files with names."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """A file of a listing. modified: when it was written, in ns, by the clock of the place."""

    name: str
    size: int
    modified: int


class Place(Protocol):
    """A folder, or a prefix of an object store. Names have `/` between their parts, and never begin with it.

    All of them raise `StoreError` where the place cannot be reached, or refuses.
    """

    @property
    def location(self) -> str:
        """Where it is, as people write it; without secrets."""
        ...

    def get(self, name: str) -> bytes | None:
        """The whole file; None if there is none."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Write a file, in the place of one that may be there; durable and whole, or not at all."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write a file that is not there yet, durable and whole. False if there is one: it stays as it is."""
        ...

    def size(self, name: str) -> int | None:
        """Bytes of a file; None if there is none."""
        ...

    def entries(self, prefix: str) -> list[Entry]:
        """The files whose names begin so, by name; what was written a moment ago may be missing."""
        ...

    def remove(self, name: str) -> None:
        """Delete a file. One that is not there is no error."""
        ...
