"""A registry behind a URL keeps the contract: a real server process for every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qmtl.foundation.schema.registry.remote import RemoteSchemaRegistryClient
from qmtl.runtime.testing.registry_suite import RegistrySuite


class TestRemoteSchemaRegistryClient(RegistrySuite):
    @pytest.fixture
    def registry(
        self, tmp_path: Path, warm_server: Callable[[Path], Any]
    ) -> Iterator[RemoteSchemaRegistryClient]:
        server = warm_server(tmp_path / "registry")
        client = RemoteSchemaRegistryClient(server.url, timeout_s=60)
        yield client
        client.close()
        server.end()
