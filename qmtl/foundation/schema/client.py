"""The registry in this process: every rule of a registry, over rows that are kept anywhere."""

from __future__ import annotations

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.schema.storage import RegistryStorage


class SchemaRegistryClient:
    """A `SchemaRegistry` in this process. Safe to use from any thread.

    storage: where rows are kept; in memory without one.
    """

    def __init__(self, storage: RegistryStorage | None = None, *, clock: Clock | None = None) -> None:
        self.storage = storage
        self._clock = clock or SystemClock()

    # All methods of `registry.SchemaRegistry`, with the same signatures.
