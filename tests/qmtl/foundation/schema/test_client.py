"""The registry in this process keeps the contract, and answers known ids from memory."""

from __future__ import annotations

import pytest

from qmtl.foundation.schema import SchemaRegistryClient
from qmtl.runtime.testing.registry_suite import RegistrySuite


class TestSchemaRegistryClient(RegistrySuite):
    @pytest.fixture
    def registry(self) -> SchemaRegistryClient:
        return SchemaRegistryClient()
