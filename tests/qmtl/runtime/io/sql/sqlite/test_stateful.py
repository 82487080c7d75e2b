"""Anything that is done to the embedded store leaves it as a plain model says."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.testing.store_model import StoreMachine

pytestmark = pytest.mark.usefixtures("small_chunks")


class EmbeddedMachine(StoreMachine):
    def open(self) -> EmbeddedStore:
        self.folder = Path(tempfile.mkdtemp())
        return EmbeddedStore(self.folder / "store")

    def reopen(self) -> EmbeddedStore:
        self.store.close()
        return EmbeddedStore(self.folder / "store")

    def tidy(self) -> None:
        self.store.compact()
        assert self.store.verify().is_sound

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
