"""Anything that is done to the embedded store leaves it as a plain model says."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from tests.qmtl.runtime.io.sql.addressed_machine import AddressedMachine

pytestmark = pytest.mark.usefixtures("small_chunks")


class EmbeddedMachine(AddressedMachine):
    def empty_url(self) -> str:
        self.folder = Path(tempfile.mkdtemp())
        return str(self.folder / "store")

    def opened(self, url: str) -> EmbeddedStore:
        return EmbeddedStore(url)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


EmbeddedMachine.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
TestEmbeddedStore = EmbeddedMachine.TestCase
