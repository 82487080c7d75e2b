"""A store in front of another one, for tests that count what is asked, or make it slow, late or faulty."""

from __future__ import annotations

from typing import Any

from qmtl.runtime.io.store.contract import Store


class StoreProxy:
    """Passes every verb on to `inner`; a subclass defines those that it does otherwise.

    What is not a verb of the contract (`path`, `verify`, ...) is passed on as well.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)
