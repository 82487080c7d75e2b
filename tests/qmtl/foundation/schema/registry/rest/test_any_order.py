"""Over real servers too, any sequence of calls is answered as the plain model answers it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from qmtl.foundation.schema.registry.remote import RemoteSchemaRegistryClient
from qmtl.runtime.testing.registry_model import RegistryMachine


def test_any_sequence_of_calls(
    warm_server: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    class RemoteMachine(RegistryMachine):
        def open(self) -> RemoteSchemaRegistryClient:
            self.server = warm_server(tmp_path_factory.mktemp("any-order") / "registry")
            return RemoteSchemaRegistryClient(self.server.url, timeout_s=60)

        def reopen(self) -> RemoteSchemaRegistryClient:
            # Another client, which remembers nothing.
            self.registry.close()  # type: ignore[attr-defined]  # it is a remote one
            return RemoteSchemaRegistryClient(self.server.url, timeout_s=60)

        def teardown(self) -> None:
            if hasattr(self, "server"):
                self.registry.close()  # type: ignore[attr-defined]  # it is a remote one
                self.server.end()

    run_state_machine_as_test(
        RemoteMachine,
        settings=settings(
            max_examples=6, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
