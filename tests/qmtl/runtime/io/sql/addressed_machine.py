"""A state machine of stores that lie at an address: closed and opened again, compacted, and sound."""

from __future__ import annotations

from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.testing.store_model import StoreMachine


class AddressedMachine(StoreMachine):
    """Say where an empty store is, and how the store of an address is opened."""

    store: KeptStore

    def empty_url(self) -> str:
        raise NotImplementedError

    def opened(self, url: str) -> KeptStore:
        raise NotImplementedError

    def open(self) -> KeptStore:
        self.url = self.empty_url()
        return self.opened(self.url)

    def reopen(self) -> KeptStore:
        self.store.close()
        return self.opened(self.url)

    def tidy(self) -> None:
        self.store.compact()
        assert self.store.verify().is_sound
