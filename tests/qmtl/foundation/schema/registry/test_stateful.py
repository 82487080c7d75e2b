"""Any sequence of calls is answered as the plain model answers it."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from qmtl.foundation.schema import SchemaRegistryClient
from qmtl.runtime.testing.registry_model import RegistryMachine


class InProcessMachine(RegistryMachine):
    def open(self) -> SchemaRegistryClient:
        return SchemaRegistryClient()

    def reopen(self) -> SchemaRegistryClient:
        # Another client of the same rows, which remembers nothing.
        assert isinstance(self.registry, SchemaRegistryClient)
        return SchemaRegistryClient(self.registry.storage)


TestInProcess = pytest.mark.slow(InProcessMachine.TestCase)
TestInProcess.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
