"""Rows in memory keep the contract of a storage."""

from __future__ import annotations

import pytest

from qmtl.foundation.schema.registry.memory_storage import MemoryStorage
from qmtl.runtime.testing.registry_storage_suite import RegistryStorageSuite


class TestMemoryStorage(RegistryStorageSuite):
    @pytest.fixture
    def storage(self) -> MemoryStorage:
        return MemoryStorage()
